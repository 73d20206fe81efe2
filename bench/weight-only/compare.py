"""How well the results agree with the original on tokens that nobody has seen, and how large they are.

usage: compare.py ORIGINAL.onnx TOKENS.npz NAME=MODEL ...

A result is ONNX, which ONNX Runtime runs, or OpenVINO's IR, which OpenVINO runs, both in float32. What is compared is the vectors of the
tokens, the first output of three axes, where they are no padding. Fails when a peer, which is any name that begins with `peer`, agrees better than `ours` by more than 0.01 dB.
"""
import os
import sys

import numpy as np
import onnxruntime

original, tokens = sys.argv[1:3]
output = None  # its name, once the original is open
data = {k: v[:64] for k, v in np.load(tokens).items()}
count = len(data["input_ids"])
mask = data["attention_mask"][:, :, None] if "attention_mask" in data else 1


def answers(path):
    """A function that answers a batch, and the names of what it takes."""
    global output
    if path.endswith(".xml"):
        import openvino

        m = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"})
        return (lambda feed: m(feed)[output].copy()), [i.any_name for i in m.inputs]
    s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = output or next(o.name for o in s.get_outputs() if o.type == "tensor(float)" and len(o.shape) == 3)
    return (lambda feed: s.run([output], feed)[0]), [i.name for i in s.get_inputs()]


def run(path):
    answer, names = answers(path)
    return np.concatenate([answer({k: data[k][i : i + 4] for k in names}) for i in range(0, count, 4)]) * mask


def size(path):
    return sum(os.path.getsize(p) for p in ([path, path[:-3] + "bin"] if path.endswith(".xml") else [path]))


want, found = run(original), {}
for word in sys.argv[3:]:
    name, path = word.split("=", 1)
    try:
        noise = np.square(run(path) - want, dtype=np.float64).sum()
    except Exception as e:  # not each file of a peer loads
        print(f"{name:16} does not run: {str(e).splitlines()[0][:120]}")
        continue
    found[name] = 10 * np.log10(np.square(want, dtype=np.float64).sum() / noise)
    print(f"{name:16} SQNR {found[name]:6.2f} dB, {size(path) / size(original):.3f} of the size")
better = [n for n, db in found.items() if n.startswith("peer") and found["ours"] < db - 0.01]
if better:
    sys.exit(f"we agree less than {', '.join(better)}")
