"""Writes the models of the evaluate scripts: what goes in comes out, so that a test says itself what the models answer.

python make.py FOLDER: base.onnx answers y = x, noisy.onnx y = x + e, both of any shape; letters.onnx is base.onnx with the
shape [N, T, 4], whole.onnx takes and answers int64, two.onnx has a second output.
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
