"""Top-1 on the held-out digits, and latency at batch 1 on one thread, of the original and of each candidate.

usage: compare.py ORIGINAL TEST.npz NAME=MODEL ...

Fails when a candidate loses more than 0.003 of top-1 against the original.
"""

import sys
import time

import numpy as np
import onnxruntime

BUDGET = 0.003
SLICES, RUNS = 15, 200


def main():
    original, test = sys.argv[1:3]
    paths = {"original": original, **dict(word.split("=", 1) for word in sys.argv[3:])}

    data = np.load(test)
    images = data["image"].astype(np.float32) / 255
    labels = data["label"]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for name, path in paths.items()
    }

    top1 = {}
    for name, session in sessions.items():
        logits = session.run(None, {"input": images})[0]
        top1[name] = float((logits.argmax(axis=1) == labels).mean())

    # Slices of runs take turns, so that a slow spell of the machine falls on all of them.
    one = {"input": images[:1]}
    slices = {name: [] for name in sessions}
    for number in range(SLICES + 1):
        for name, session in sessions.items():
            start = time.perf_counter_ns()
            for _ in range(RUNS):
                session.run(None, one)
            if number:  # the first slice warms up
                slices[name].append((time.perf_counter_ns() - start) / RUNS)

    base = np.median(slices["original"])
    print(f"{'':>10}  {'top-1':>7}  {'lost':>7}  {'us/run':>7}  {'ratio':>6}")
    lost = {name: top1["original"] - top1[name] for name in sessions}
    for name in sessions:
        median = np.median(slices[name])
        print(f"{name:>10}  {top1[name]:7.4f}  {lost[name]:7.4f}  {median / 1000:7.1f}  {median / base:6.2f}")

    over = [name for name in sessions if lost[name] > BUDGET + 1e-9]
    if over:
        sys.exit(f"more than {BUDGET} of top-1 lost by: {', '.join(over)}")


main()
