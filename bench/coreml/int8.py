"""Stores the weights of Conv, Gemm and MatMul as int8 behind DequantizeLinear, a scale for each output channel.

usage: int8.py MODEL.onnx OUT.onnx"""
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

model = onnx.load(sys.argv[1])
if next(o.version for o in model.opset_import if o.domain == "") < 13:
    model = version_converter.convert_version(model, 13)
graph = model.graph
constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
for node in list(graph.node):
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
done, gone = [], set()
for node in graph.node:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in constants:
        continue
    w = constants[node.input[1]]
    if w.ndim < 2 or w.size < 256:
        continue
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    axis = 0 if node.op_type == "Conv" or turned else 1 if node.op_type in ("ConvTranspose", "Gemm") else w.ndim - 1
    others = tuple(i for i in range(w.ndim) if i != axis)
    scale = np.maximum(np.abs(w).max(axis=others), 1e-4).astype(np.float32) / 127
    at = scale.reshape([-1 if i == axis else 1 for i in range(w.ndim)])
    name = node.input[1]
    out = name + "_dequantized"
    if not any(d.output[0] == out for d in done):
        graph.initializer.append(numpy_helper.from_array(np.clip(np.round(w / at), -127, 127).astype(np.int8), name + "_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, name + "_scale"))
        done.append(helper.make_node("DequantizeLinear", [name + "_int8", name + "_scale"], [out], axis=axis, name=name + "_dq"))
        gone.add(name)
    node.input[1] = out
kept = [n for n in graph.node if not (n.op_type == "Constant" and n.output[0] in gone)]
inits = [t for t in graph.initializer if t.name not in gone]
del graph.node[:], graph.initializer[:]
graph.node.extend(done + kept)
graph.initializer.extend(inits)
inputs = [i for i in graph.input if i.name not in gone]
del graph.input[:]
graph.input.extend(inputs)
onnx.save(model, sys.argv[2])
