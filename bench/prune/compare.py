"""Prints what the models of bench/prune.sh are worth: multiply-accumulates by one count for all, top-1 on the 10,000 test
images, latency at batch 1 and 64 in one thread, in turns, with the original against itself for the noise. Fails when ours
lose more than asked, or more than the peer's.

usage: compare.py FOLDER NAME SHARE [GIVE]      GIVE is how many points of top-1 the repaired model may lose; none is asked without it
"""

import os
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort


def macs(path):
    m = onnx.load(path)
    for i in m.graph.input:
        i.type.tensor_type.shape.dim[0].dim_value = 1
    m = onnx.shape_inference.infer_shapes(m)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*m.graph.value_info, *m.graph.output, *m.graph.input]}
    weights = {t.name: list(t.dims) for t in m.graph.initializer}
    total = 0
    for n in m.graph.node:
        if n.op_type == "Conv":
            total += int(np.prod(shapes[n.output[0]])) * int(np.prod(weights[n.input[1]][1:]))
        elif n.op_type in ("Gemm", "MatMul") and n.input[1] in weights:
            total += int(np.prod(weights[n.input[1]]))
    return total


def session(path):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 1
    o.log_severity_level = 3
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def latencies(sessions, x, rounds):
    """Medians in milliseconds; the sides take turns, so that the same weather blows on all."""
    took = {k: [] for k in sessions}
    for r in range(rounds + 3):
        order = list(sessions)
        order = order[r % len(order):] + order[:r % len(order)]
        for k in order:
            start = time.perf_counter()
            sessions[k].run(None, {"input": x})
            if r >= 3:
                took[k].append(1000 * (time.perf_counter() - start))
    return {k: np.array(v) for k, v in took.items()}


def main(folder, name, share, give=None):
    test = np.load(os.path.join(folder, "test.npz"))
    x, y = test["input"], test["label"]
    base = os.path.join(folder, f"{name}.onnx")
    models = {"original": base, "again": base}
    for side in ("ours", "torch-pruning"):
        for what in ("cut", "repaired"):
            path = os.path.join(folder, f"{name}-{share}-{side}-{what}.onnx")
            if os.path.exists(path):
                models[f"{side}, {what}"] = path
    sessions = {k: session(p) for k, p in models.items()}
    rounds = int(os.environ.get("RUNS", "31"))
    one, many = latencies(sessions, x[:1], 8 * rounds), latencies(sessions, x[:64], rounds)
    top, count = {}, {}
    for k, s in sessions.items():
        right = [(s.run(None, {"input": x[i:i + 500]})[0].argmax(1) == y[i:i + 500]) for i in range(0, len(x), 500)]
        top[k], count[k] = float(np.mean(np.concatenate(right))), macs(models[k])
    print(f"| {name}, {share} of the work | multiply-accumulates | top-1 | speed-up at batch 1 | at batch 64 |\n|---|---|---|---|---|")
    for k in models:
        ratio = [np.median(t["original"]) / np.median(t[k]) for t in (one, many)]
        print(f"| {k} | {count[k] / 1e6:.2f} M ({count[k] / count['original']:.3f}) | {top[k]:.4f} ({100 * (top[k] - top['original']):+.2f} points) | {ratio[0]:.2f} | {ratio[1]:.2f} |")
    status = 0
    ours, peer = "ours, repaired", "torch-pruning, repaired"
    if give is not None and top["original"] - top[ours] > give / 100:
        print(f"{name}: the repaired model loses {100 * (top['original'] - top[ours]):.2f} points of top-1, more than {give}")
        status = 1
    if count[ours] > 1.005 * float(share) * count["original"]:
        print(f"{name}: more of the work is left than was asked for")
        status = 1
    if peer in top and top[ours] < top[peer] and count[ours] >= count[peer]:
        print(f"{name}: Torch-Pruning's is better, or smaller, at the same accuracy")
        status = 1
    return status


args = sys.argv[1:]
sys.exit(main(*args[:3], *map(float, args[3:])))
