"""Compares simplified models with their originals: compare.py ORIGINAL NAME=MODEL ...

Prints nodes, bytes and the largest difference of the outputs on random inputs, relative to the
original's plus one. Fails when the first MODEL has more nodes or bytes than another, or differs by
more than 1e-5.
"""
import os
import sys

import numpy as np
import onnx
import onnxruntime


def nodes(g):
    return sum(1 + sum(nodes(s) for a in n.attribute for s in [*([a.g] if a.HasField("g") else []), *a.graphs]) for n in g.node)


def outputs(path, feeds):
    o = onnxruntime.SessionOptions()
    o.log_severity_level = 4
    o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"]).run(None, feeds)


original, *named = sys.argv[1:]
m = onnx.load(original)
rng = np.random.default_rng(0)
sizes = {1: 3, 2: 48 if "rec" in original else 160, 3: 160}
feeds = {}
for v in m.graph.input:
    dims = [d.dim_value or sizes.get(i, 2) for i, d in enumerate(v.type.tensor_type.shape.dim)]
    feeds[v.name] = rng.standard_normal(dims).astype(np.float32)
want = outputs(original, feeds)
print(f"{os.path.basename(original)}: {nodes(m.graph)} nodes, {os.path.getsize(original)} bytes")
rows = []
for name, path in (n.split("=", 1) for n in named):
    got = outputs(path, feeds)
    worst = max(float(np.max(np.abs(a - b) / (1 + np.abs(a)))) for a, b in zip(want, got, strict=True))
    rows.append((nodes(onnx.load(path).graph), os.path.getsize(path), worst))
    print(f"  {name:10} {rows[-1][0]:5} nodes {rows[-1][1]:10} bytes  differs by {worst:.1e}")
ours = rows[0]
if ours[2] > 1e-5 or any(ours[0] > r[0] or ours[1] > r[1] for r in rows[1:]):
    sys.exit("the first is larger than another, or computes something else")
