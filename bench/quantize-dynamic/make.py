"""Writes the model of quantize-dynamic.sh: make.py OUTPUT.onnx.

An encoder as BERT's: six layers of width 384, twelve heads, a vocabulary of 30,522 words; 22.7 million parameters, 91 MB.
Weights are random, in the shapes and with the operators that PyTorch's exporter writes.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS, INNER, WORDS, LENGTH = 6, 384, 12, 1536, 30522, 512

rng = np.random.default_rng(0)
nodes, inits = [], []


def const(name, value):
    inits.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def weight(name, *shape):
    return const(name, (rng.standard_normal(shape) * 0.04).astype(np.float32))


def node(op, name, inputs, **attrs):
    nodes.append(helper.make_node(op, inputs, [name + "_out"], name, **attrs))
    return name + "_out"


def linear(name, x, n, m):
    product = node("MatMul", name + "/MatMul", [x, weight(name + ".weight", n, m)])
    return node("Add", name + "/Add", [weight(name + ".bias", m), product])


def norm(name, x):
    scale = const(name + ".gamma", (1 + 0.1 * rng.standard_normal(WIDTH)).astype(np.float32))
    return node("LayerNormalization", name, [x, scale, weight(name + ".beta", WIDTH)], axis=-1, epsilon=1e-12)


def heads(name, x):
    split = node("Reshape", name + "/Reshape", [x, "split"])
    return node("Transpose", name + "/Transpose", [split], perm=[0, 2, 1, 3])


const("split", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
const("join", np.array([0, 0, WIDTH], np.int64))
const("root", np.float32(np.sqrt(WIDTH / HEADS)))
for name, value in (("half", 0.5), ("one", 1.0), ("sqrt2", np.sqrt(2))):
    const(name, np.float32(value))
const("axis1", np.array([1], np.int64))
const("axes", np.array([1, 2], np.int64))
const("minus", np.float32(-10000))

words = node("Gather", "embeddings/words", [weight("words.weight", WORDS, WIDTH), "input_ids"])
length = node("Shape", "embeddings/Shape", ["input_ids"])
length = node("Gather", "embeddings/length", [length, const("one_index", np.array([1], np.int64))])
ids = node("Slice", "embeddings/Slice", [const("ids", np.arange(LENGTH, dtype=np.int64)), const("zero", np.array([0], np.int64)), length])
positions = node("Gather", "embeddings/positions", [weight("positions.weight", LENGTH, WIDTH), ids])
x = norm("embeddings/norm", node("Add", "embeddings/Add", [words, positions]))

mask = node("Cast", "mask/Cast", [node("Unsqueeze", "mask/Unsqueeze", ["attention_mask", "axes"])], to=TensorProto.FLOAT)
mask = node("Mul", "mask/Mul", [node("Sub", "mask/Sub", ["one", mask]), "minus"])

for i in range(LAYERS):
    at = f"layer.{i}/"
    q, k, v = (heads(at + p, linear(at + p, x, WIDTH, WIDTH)) for p in ("query", "key", "value"))
    scores = node("MatMul", at + "scores", [q, node("Transpose", at + "turned", [k], perm=[0, 1, 3, 2])])
    scores = node("Add", at + "masked", [node("Div", at + "scaled", [scores, "root"]), mask])
    context = node("MatMul", at + "context", [node("Softmax", at + "softmax", [scores], axis=-1), v])
    context = node("Reshape", at + "joined", [node("Transpose", at + "back", [context], perm=[0, 2, 1, 3]), "join"])
    x = norm(at + "norm1", node("Add", at + "add1", [linear(at + "output", context, WIDTH, WIDTH), x]))
    h = linear(at + "inner", x, WIDTH, INNER)
    erf = node("Add", at + "gelu/Add", [node("Erf", at + "gelu/Erf", [node("Div", at + "gelu/Div", [h, "sqrt2"])]), "one"])
    h = node("Mul", at + "gelu/half", [node("Mul", at + "gelu/Mul", [h, erf]), "half"])
    x = norm(at + "norm2", node("Add", at + "add2", [linear(at + "outer", h, INNER, WIDTH), x]))

nodes[-1].output[0] = "last_hidden_state"
tokens = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"]) for n in ("input_ids", "attention_mask")]
result = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])]
graph = helper.make_graph(nodes, "encoder", tokens, result, inits)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
