"""How far our shards are from the peer's array: python compare.py RESULT.npy FOLDER-OF-SHARDS. Fails when it is visible."""
import json
import pathlib
import struct
import sys

import numpy as np

peer, folder = np.load(sys.argv[1], mmap_mode="r"), pathlib.Path(sys.argv[2])
at, worst, total = 0, 0.0, 0.0
for shard in json.loads((folder / "dataset.json").read_text())["shards"]:
    with open(folder / shard["file"], "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(n))["input"]
        f.seek(8 + n + head["data_offsets"][0])
        ours = np.frombuffer(f.read(head["data_offsets"][1] - head["data_offsets"][0]), np.float32).reshape(head["shape"])
    d = np.abs(ours - peer[at : at + len(ours)]) * 255 * 0.226
    at, worst, total = at + len(ours), max(worst, float(d.max())), total + float(d.mean()) * len(ours)
print(f"{at} images: {total / at:.3f} of 255 levels apart on average, {worst:.1f} at most")
sys.exit(at != len(peer) or total / at > 0.3 or worst > 4)
