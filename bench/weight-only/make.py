"""Writes a BERT-like encoder with random weights, and tokens for it.

usage: make.py OUT.onnx TOKENS.npz [LAYERS HIDDEN VOCABULARY SAMPLES TOKENS]

The default has 100 million parameters: 12 layers of 768, four times that within, 20,000 words. Weights are seeded. A few
channels are larger than the rest in what the LayerNormalizations give, as in trained encoders, and words are drawn as
in a language: the n-th with a chance of about 1/n.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

out, tokens = sys.argv[1:3]
layers, hidden, words, samples, length = (int(a) for a in sys.argv[3:] or (12, 768, 20000, 64, 128))
heads, rng = hidden // 64, np.random.default_rng(7)
nodes, constants = [], []


def const(name, value):
    constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def node(op, inputs, name, **attributes):
    nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
    return name


def matrix(name, k, n):
    # Rows of unlike size, and tails heavier than those of a Gauss curve.
    w = rng.standard_t(6, (k, n)) * rng.lognormal(0, 0.3, (1, n)) * (0.8 / np.sqrt(k))
    return const(name, w.astype(np.float32))


def norm(name, x):
    gamma = rng.normal(1, 0.1, hidden)
    gamma[rng.choice(hidden, hidden // 96, replace=False)] *= 6
    scale = const(name + ".weight", gamma.astype(np.float32))
    bias = const(name + ".bias", rng.normal(0, 0.1, hidden).astype(np.float32))
    return node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=1e-12)


def linear(name, x, k, n):
    y = node("MatMul", [x, matrix(name + ".weight", k, n)], name + "/MatMul")
    return node("Add", [const(name + ".bias", rng.normal(0, 0.02, n).astype(np.float32)), y], name)


split, merge = const("split", np.array([0, 0, heads, 64])), const("merge", np.array([0, 0, hidden]))
root2, half, one = (const(n, np.float32(v)) for n, v in (("root2", 2**0.5), ("half", 0.5), ("one", 1)))
eighth = const("eighth", np.float32(0.125))
table = const("embeddings.word", rng.normal(0, 0.5, (words, hidden)).astype(np.float32))
places = const("embeddings.position", rng.normal(0, 0.1, (1, length, hidden)).astype(np.float32))
x = node("Add", [node("Gather", [table, "input_ids"], "embeddings/Gather"), places], "embeddings/Add")
x = norm("embeddings/norm", x)
for i in range(layers):
    p = f"layer{i}/"
    q, k, v = (node("Reshape", [linear(p + s, x, hidden, hidden), split], p + s + "/split") for s in ("query", "key", "value"))
    q = node("Transpose", [q], p + "query/heads", perm=[0, 2, 1, 3])
    k = node("Transpose", [k], p + "key/heads", perm=[0, 2, 3, 1])
    v = node("Transpose", [v], p + "value/heads", perm=[0, 2, 1, 3])
    s = node("Softmax", [node("Mul", [node("MatMul", [q, k], p + "scores"), eighth], p + "scaled")], p + "attention", axis=-1)
    c = node("Transpose", [node("MatMul", [s, v], p + "context")], p + "context/tokens", perm=[0, 2, 1, 3])
    y = linear(p + "output", node("Reshape", [c, merge], p + "context/merge"), hidden, hidden)
    x = norm(p + "norm1", node("Add", [y, x], p + "residual1"))
    h = linear(p + "up", x, hidden, 4 * hidden)
    e = node("Add", [node("Erf", [node("Div", [h, root2], p + "div")], p + "erf"), one], p + "plus")
    h = node("Mul", [node("Mul", [h, e], p + "mul"), half], p + "gelu")
    x = norm(p + "norm2", node("Add", [linear(p + "down", h, 4 * hidden, hidden), x], p + "residual2"))
node("Identity", [x], "last_hidden_state")

graph = helper.make_graph(
    nodes,
    "encoder",
    [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", length])],
    [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["N", length, hidden])],
    constants,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, out)
chance = 1 / (np.arange(words) + 10)
ids = rng.choice(words, (2 * samples, length), p=chance / chance.sum())
np.savez(tokens, input_ids=ids[:samples])
np.savez(tokens.replace(".npz", "-test.npz"), input_ids=ids[samples:])
print(f"{sum(np.prod(c.dims) for c in constants) / 1e6:.1f} million parameters, {samples} samples of {length} tokens")
