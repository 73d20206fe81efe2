"""Writes the models of onnx.sh that no package has: models.py DIR."""
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper


def save(path, nodes, last, weights, axis):
    value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", axis])
    graph = helper.make_graph(nodes, "g", [value("x")], [value(last)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def large(path, count=90, size=512):
    """90 matrices of 1 MiB."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((size, size)).astype(np.float32), f"w{i}") for i in range(count)]
    nodes = [helper.make_node("MatMul", [f"v{i - 1}" if i else "x", f"w{i}"], [f"v{i}"]) for i in range(count)]
    save(path, nodes, f"v{count - 1}", weights, size)


def long(path, count=20000):
    """20,000 nodes, of which a quarter passes its input on."""
    nodes = []
    for i in range(count):
        op = ["Mul", "Relu", "Identity", "Sigmoid"][i % 4]
        x = f"v{i - 1}" if i else "x"
        nodes.append(helper.make_node(op, [x, "c"] if op == "Mul" else [x], [f"v{i}"], name=f"n{i}"))
    save(path, nodes, f"v{count - 1}", [numpy_helper.from_array(np.array([1.5], np.float32), "c")], 4)


if __name__ == "__main__":
    large(sys.argv[1] + "/large.onnx")
    long(sys.argv[1] + "/long.onnx")
    long(sys.argv[1] + "/quarter.onnx", 5000)
