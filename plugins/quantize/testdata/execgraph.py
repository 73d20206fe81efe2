"""Reads OpenVINO's execution graph of quantized models.

usage: execgraph.py MODEL.onnx...; every convolution and every product must run in 8 bits, else the exit status is 1.
"""
import sys

import openvino as ov

bad = 0
core = ov.Core()
for path in sys.argv[1:]:
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        kind = info["layerType"].astype(str) if hasattr(info["layerType"], "astype") else str(info["layerType"])
        if kind not in ("Convolution", "FullyConnected", "MatMul", "Deconvolution"):
            continue
        precision, primitive = str(info["runtimePrecision"].value if hasattr(info["runtimePrecision"], "value") else info["runtimePrecision"]), str(info["primitiveType"].value if hasattr(info["primitiveType"], "value") else info["primitiveType"])
        seen.append((kind, precision, primitive))
        if precision not in ("i8", "u8", "I8", "U8"):
            bad += 1
            print(f"{path}: {op.get_friendly_name()} ({kind}) runs in {precision} ({primitive})")
    if not seen:
        bad += 1
        print(f"{path}: no convolution was seen")
    print(f"{path}: {len(seen)} products, {sum(p.lower() in ('i8', 'u8') for _, p, _ in seen)} in 8 bits, openvino {ov.__version__}")
sys.exit(bool(bad))
