"""Judges quantized models with the reference implementations: onnx and onnxruntime.

usage: referee.py JOB.json; the job lists models, and ranges with the scale and zero point that we chose.
Prints one line per finding and exits 1 when there is one.
"""
import collections
import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization.quant_utils import compute_scale_zp, quantize_data

job = json.load(open(sys.argv[1]))
bad = []


def engine_ops(path):
    with tempfile.TemporaryDirectory() as d:
        o = ort.SessionOptions()
        o.log_severity_level = 4
        o.optimized_model_filepath = os.path.join(d, "o.onnx")
        ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
        return collections.Counter(n.op_type for n in onnx.load(o.optimized_model_filepath).graph.node)


for m in job["models"]:
    name, path = m["name"], m["path"]
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as e:  # the checker's own words are the finding
        bad.append(f"{name}: checker: {e}")
        continue
    ops = engine_ops(path)
    for op, n in m.get("engine", {}).items():
        if ops[op] != n:
            bad.append(f"{name}: the engine runs {ops[op]} {op}, want {n}: {dict(ops)}")
    if "digits" in m:
        data = np.load(m["digits"])
        x = data["image"].astype(np.float32) / 255
        acc = []
        for p in (m["original"], path):
            o = ort.SessionOptions()
            o.log_severity_level = 4
            y = ort.InferenceSession(p, o, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
            acc.append(float((y.argmax(1) == data["label"]).mean()))
        print(f"{name}: top-1 {acc[1]:.4f}, float {acc[0]:.4f}")
        if acc[1] < acc[0] - 0.003:
            bad.append(f"{name}: top-1 fell from {acc[0]} to {acc[1]}")

for r in job["ranges"]:
    zp, scale = compute_scale_zp(
        np.float32(r["min"]), np.float32(r["max"]), np.array(0, np.uint8), np.array(255, np.uint8), symmetric=False
    )
    if np.float32(scale) != np.float32(r["scale"]) or int(zp) != r["zero"]:
        bad.append(f"range [{r['min']}, {r['max']}]: scale {r['scale']!r} zero {r['zero']}, reference {scale!r} {zp}")

for w in job["weights"]:
    data = np.array(w["data"], np.float32)
    _, scale, q = quantize_data(data, onnx.TensorProto.INT8, symmetric=True, reduce_range=w["seven_bits"])[-3:]
    if np.float32(scale) != np.float32(w["scale"]):
        bad.append(f"weight: scale {w['scale']!r}, reference {scale!r}")
    if not np.array_equal(np.asarray(q).ravel(), np.array(w["q"], np.int8)):
        bad.append("weight: integers differ from the reference")

for b in bad:
    print(b)
print(f"{len(job['models'])} models, {len(job['ranges'])} ranges, {len(job['weights'])} weights judged by onnx {onnx.__version__}, onnxruntime {ort.__version__}")
sys.exit(bool(bad))
