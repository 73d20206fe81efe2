"""Writes the models of the evaluate scripts: what goes in comes out, so that a test says itself what the models answer.

python make.py FOLDER: base.onnx answers y = x, noisy.onnx y = x + e, both of any shape; letters.onnx is base.onnx with the
shape [N, T, 4], whole.onnx takes and answers int64, two.onnx has a second output; outside.onnx keeps its weights in another file;
recurrent.onnx takes a scalar k and a state h: y = k * x + h[0] + h[1].
"""
import pathlib
import sys

import onnx
from onnx import TensorProto as T
from onnx import helper as h


def value(name, shape=None, kind=T.FLOAT):
    return h.make_tensor_value_info(name, kind, shape)


def save(name, nodes, shape=None, kind=T.FLOAT, more=()):
    graph = h.make_graph(nodes, name, [value("x", shape, kind), value("e", shape, kind)], [value("y", shape, kind), *more])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8, producer_name="")
    pathlib.Path(sys.argv[1], name + ".onnx").write_bytes(model.SerializeToString())


save("base", [h.make_node("Identity", ["x"], ["y"])])
save("noisy", [h.make_node("Add", ["x", "e"], ["y"])])
save("letters", [h.make_node("Identity", ["x"], ["y"])], ["N", "T", 4])
save("whole", [h.make_node("Identity", ["x"], ["y"])], kind=T.INT64)
save("wholenoisy", [h.make_node("Add", ["x", "e"], ["y"])], kind=T.INT64)
save("two", [h.make_node("Identity", ["x"], ["y"]), h.make_node("Neg", ["x"], ["z"])], more=[value("z")])

# outside.onnx has its weights in outside.onnx.data: a MatMul of [32, 16], 1 at (i, i % 16).
weight = onnx.TensorProto(name="w", data_type=T.FLOAT, dims=[32, 16])
weight.data_location = onnx.TensorProto.EXTERNAL
for key, text in (("location", "outside.onnx.data"), ("offset", "0"), ("length", "2048")):
    weight.external_data.add(key=key, value=text)
graph = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"], "product")], "outside", [value("x", ["N", 32])], [value("y", ["N", 16])], [weight])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8, producer_name="")
pathlib.Path(sys.argv[1], "outside.onnx").write_bytes(model.SerializeToString())
data = b"".join(b"\0\0\x80\x3f" if i % 16 == k else bytes(4) for i in range(32) for k in range(16))
pathlib.Path(sys.argv[1], "outside.onnx.data").write_bytes(data)

# recurrent.onnx has a scalar input and one whose samples lie along axis 1.
inputs = [value("x", ["N", 3]), value("k", [], T.INT64), value("h", [2, "N", 3])]
axes = onnx.TensorProto(name="axes", data_type=T.INT64, dims=[1], int64_data=[0])
nodes = [
    h.make_node("Cast", ["k"], ["factor"], "cast", to=T.FLOAT),
    h.make_node("Mul", ["x", "factor"], ["scaled"], "scale"),
    h.make_node("ReduceSum", ["h", "axes"], ["state"], "state", keepdims=0),
    h.make_node("Add", ["scaled", "state"], ["y"], "add"),
]
graph = h.make_graph(nodes, "recurrent", inputs, [value("y", ["N", 3])], [axes])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8, producer_name="")
pathlib.Path(sys.argv[1], "recurrent.onnx").write_bytes(model.SerializeToString())
