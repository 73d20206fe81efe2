"""How well the results agree with the original on tokens that nobody has seen, and how large they are.

usage: compare.py ORIGINAL.onnx TOKENS.npz NAME=MODEL.onnx ...

Fails when `peer` agrees better than `ours` by more than 0.01 dB.
"""
import os
import sys

import numpy as np
import onnxruntime

original, tokens = sys.argv[1:3]
ids = np.load(tokens)["input_ids"][:16]


def run(path):
    s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([s.run(None, {"input_ids": ids[i : i + 4]})[0] for i in range(0, len(ids), 4)])


want, found = run(original), {}
for word in sys.argv[3:]:
    name, path = word.split("=", 1)
    noise = np.square(run(path) - want, dtype=np.float64).sum()
    found[name] = 10 * np.log10(np.square(want, dtype=np.float64).sum() / noise)
    print(f"{name:8} SQNR {found[name]:6.2f} dB, {os.path.getsize(path) / os.path.getsize(original):.3f} of the size")
if "peer" in found and found["ours"] < found["peer"] - 0.01:
    sys.exit("we agree less than the peer")
