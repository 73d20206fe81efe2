"""Makes the same samples in every form that a dataset takes: python make.py FOLDER COUNT.

photos/ (JPEG, 256 different ones that are linked again and again), table.csv, lines.jsonl, arrays.npz (deflated).
"""
import json
import os
import pathlib
import sys

import numpy as np
from PIL import Image

folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(1)
folder.mkdir(parents=True)
originals = []
for i in range(256):
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    originals.append(small.resize((96, 72), Image.BICUBIC))
for i in range(count):
    to = folder / "photos" / "abcd"[i % 4]
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"{i:06}.jpg"
    if i < len(originals):
        originals[i].save(path, quality=90)
        originals[i] = path
    else:
        os.link(originals[i % len(originals)], path)
rows = rng.integers(0, 256, (512, 192))
with (folder / "table.csv").open("w") as f:
    f.write(",".join(f"p{k}" for k in range(rows.shape[1])) + ",label\n")
    text = [",".join(map(str, r)) for r in rows]
    for i in range(count):
        f.write(f"{text[i % 512]},{i % 10}\n")
with (folder / "lines.jsonl").open("w") as f:
    text = [json.dumps(r.reshape(12, 16).tolist()) for r in rows]
    for i in range(count):
        f.write(f'{{"x": {text[i % 512]}, "label": {i % 10}}}\n')
np.savez_compressed(folder / "arrays.npz", x=rows.astype(np.uint8)[np.arange(count) % 512], label=np.arange(count) % 10)
