"""Holds IRs against their ONNX models: Python's openvino, which reads the IR by itself, against ONNX Runtime.

usage: referee.py TOLERANCE MODEL.onnx MODEL.xml [MODEL.onnx MODEL.xml]...; inputs are noise, free axes 1 or 2. The exit status
is 1 where an output has another name or shape, or is further away than TOLERANCE of the output's largest magnitude and 1e-6.
"""
import sys

import numpy as np
import onnxruntime
import openvino as ov

KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}


def noise(info, rng):
    images = len(info.shape) == 4
    free = [2, 3, 64, 64] if images else [1] * 3 if len(info.shape) == 3 else [2, 24]
    if "rec" in sys.argv[2] and images:
        free = [1, 3, 48, 96]
    shape = [d if isinstance(d, int) else n for d, n in zip(info.shape, free)]
    kind = KINDS[info.type]
    if np.issubdtype(kind, np.floating):
        return rng.uniform(-1, 1, shape).astype(kind)
    return (np.ones(shape) if "mask" in info.name else rng.integers(0, 40, shape)).astype(kind)


def main():
    tolerance, bad, core = float(sys.argv[1]), 0, ov.Core()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for path, xml in zip(sys.argv[2::2], sys.argv[3::2]):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(7)
        feeds = {i.name: noise(i, rng) for i in session.get_inputs()}
        try:
            want = session.run(None, feeds)
        except Exception as e:
            print(f"{path}: does not run on noise: {str(e)[:100]}")
            continue
        compiled = core.compile_model(core.read_model(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        got = compiled(feeds)
        for info, w in zip(session.get_outputs(), want):
            g = got[info.name]  # by name: it has stayed
            if not w.size:
                continue
            away, most = float(np.max(np.abs(g.astype(np.float64) - w))) if g.shape == w.shape else np.inf, float(np.max(np.abs(w)))
            print(f"{xml}: {info.name} {g.shape} is {away:.1e} away, of {most:.1e}")
            bad += not away <= tolerance * most + 1e-6
    sys.exit(bool(bad))


main()
