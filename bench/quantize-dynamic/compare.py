"""What two quantized encoders are worth: compare.py FLOAT OURS PEER.

Prints size, cosine of the outputs against the float model's and latency at 64 tokens in slices that take turns. Fails
when ours is larger by more than 3 percent, or less alike.
"""

import os
import statistics
import sys
import time

import numpy as np
import onnxruntime

names = ("float", "ours", "peer")
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
sessions = [onnxruntime.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in sys.argv[1:]]
rng = np.random.default_rng(1)
feeds = [{"input_ids": rng.integers(0, 30522, (1, 64)), "attention_mask": np.ones((1, 64), np.int64)} for _ in range(8)]
outputs = [np.stack([s.run(None, f)[0].ravel() for f in feeds]) for s in sessions]


def cosine(a, b):
    return float(np.mean(np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))


times = [[] for _ in sessions]
for k in range(24):
    for i in [(k + j) % 3 for j in range(3)]:
        start = time.perf_counter()
        sessions[i].run(None, feeds[k % 8])
        times[i].append(time.perf_counter() - start)
sizes = [os.path.getsize(p) for p in sys.argv[1:]]
cosines = [cosine(outputs[0], o) for o in outputs]
print(f"{'':6} {'MB':>7} {'cosine':>8} {'speed-up':>9}")
for i, name in enumerate(names):
    speed = statistics.median(f / t for f, t in zip(times[0], times[i]))
    print(f"{name:6} {sizes[i] / 1e6:7.1f} {cosines[i]:8.5f} {speed:9.2f}")
failed = sizes[1] > 1.03 * sizes[2] or 1 - cosines[1] > 1.05 * (1 - cosines[2])
sys.exit("ours is larger, or less alike" if failed else 0)
