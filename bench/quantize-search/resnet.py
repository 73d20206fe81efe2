"""Writes a ResNet-18 for images of 224x224 with random weights, as an exporter would: BatchNormalization kept, its statistics
those of the images given, so that the activations are those of a net that was trained with it.

usage: resnet.py CALIBRATION.npz OUTPUT
"""

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WIDTHS, EPSILON = [64, 128, 256, 512], 1e-5
rng = np.random.default_rng(5)
nodes, weights = [], []


def constant(name, a):
    weights.append(numpy_helper.from_array(np.ascontiguousarray(a, np.float32), name))
    return name


def node(op, inputs, out, **attrs):
    nodes.append(helper.make_node(op, inputs, [out], name=out, **attrs))
    return out


def model(output, shape):
    values = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])]
    graph = helper.make_graph(nodes, "resnet18", values, [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def normalized(x, name, channels, images):
    """Batch normalization with the mean and variance that the images have there."""
    m = model(x, ["N", channels, None, None])
    y = onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"input": images})[0]
    parts = {
        "scale": rng.uniform(0.5, 1.5, channels),
        "shift": rng.normal(0, 0.3, channels),
        "mean": y.mean((0, 2, 3)),
        "var": y.var((0, 2, 3)),
    }
    return node("BatchNormalization", [x, *(constant(f"{name}.{k}", v) for k, v in parts.items())], f"{name}/bn", epsilon=EPSILON)


def conv(x, name, read, written, kernel, stride, images):
    w = rng.normal(0, np.sqrt(2 / (read * kernel * kernel)), (written, read, kernel, kernel))
    y = node("Conv", [x, constant(f"{name}.weight", w)], f"{name}/conv", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
    return normalized(y, name, written, images)


def main():
    images = np.load(sys.argv[1])["input"][:8]
    x = node("Relu", [conv("input", "stem", 3, 64, 7, 2, images)], "stem/relu")
    x, read = node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 64
    for i, width in enumerate(WIDTHS):
        for j in range(2):
            at, stride = f"layer{i + 1}.{j}", 2 if i > 0 and j == 0 else 1
            y = node("Relu", [conv(x, f"{at}.a", read, width, 3, stride, images)], f"{at}.a/relu")
            y = conv(y, f"{at}.b", width, width, 3, 1, images)
            if stride > 1:
                x = conv(x, f"{at}.down", read, width, 1, stride, images)
            x = node("Relu", [node("Add", [y, x], f"{at}/add")], f"{at}/relu")
            read = width
    x = node("Flatten", [node("GlobalAveragePool", [x], "gap")], "flat")
    w = rng.normal(0, np.sqrt(1 / read), (1000, read))
    node("Gemm", [x, constant("fc.weight", w), constant("fc.bias", rng.normal(0, 0.1, 1000))], "logits", transB=1)
    m = model("logits", ["N", 1000])
    onnx.checker.check_model(m, full_check=True)
    onnx.save(m, sys.argv[2])


main()
