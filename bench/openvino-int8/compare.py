"""Speed, size and quality of IRs on OpenVINO's CPU device, in f32 where nothing is quantized.

usage: compare.py NAME SHIPPED.onnx TEST.npz ours=A.xml nncf=B.xml

The shapes of the inputs are fixed to one sample, as benchmark_app does. Slices of runs take turns on one thread, in an order that
is flipped each round; a speed-up is the median over rounds of the ratio to the slice of the shipped model, with the
middle half in brackets. The shipped model runs twice: "again" is the noise. Exits with 1 when "ours" is larger, slower than the noise
allows, or worse than "nncf".
"""

import os
import sys
import time

import numpy as np
import openvino

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "quantize-search"))
from compare import quality

SECONDS, SLICE, SAMPLES = float(os.environ.get("SECONDS_EACH", 3)), 0.012, 200
BETTER = {"sqnr": 1, "iou": 1, "cosine": 1, "agreement": 1, "cer": -1, "top1_drop": -1}
# What a figure may fall short by: its own noise on a few hundred samples.
SLACK = {"sqnr": 0.5, "iou": 0.005, "cosine": 0.0005, "agreement": 0.01, "cer": 0.002, "top1_drop": 0.003}
CORE = openvino.Core()


class Session:
    def __init__(self, path, feed):
        model = CORE.read_model(path)
        names = [i.any_name for i in model.inputs]
        model.reshape({n: list(feed[n].shape) for n in names})
        self.outputs = [o.get_names() for o in model.outputs]
        self.compiled = CORE.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        )
        self.names, self.request = names, self.compiled.create_infer_request()

    def run(self, feed):
        self.request.infer({n: feed[n] for n in self.names})

    def answer(self, feed, index):
        self.run(feed)
        return self.request.get_output_tensor(index).data.copy()

    def coverage(self):
        seen = {}
        for op in self.compiled.get_runtime_model().get_ordered_ops():
            info = {k: str(getattr(v, "value", v)) for k, v in op.get_rt_info().items()}
            if info["layerType"] in ("Convolution", "FullyConnected", "Deconvolution"):
                small = info["runtimePrecision"].lower() in ("i8", "u8")
                seen[small] = seen.get(small, 0) + 1
        return f"{seen.get(True, 0)} of {sum(seen.values())} in int8"


def time_slice(s, feed):
    runs, start = 0, time.perf_counter()
    while True:
        s.run(feed)
        runs += 1
        took = time.perf_counter() - start
        if took >= SLICE:
            return took / runs


def race(sessions, feed):
    for s in sessions.values():
        for _ in range(5):
            s.run(feed)
    names, rounds, start = list(sessions), [], time.perf_counter()
    while len(rounds) < 15 or time.perf_counter() - start < SECONDS * len(names):
        order = names if len(rounds) % 2 == 0 else names[::-1]
        rounds.append({n: time_slice(sessions[n], feed) for n in order})
    return rounds


def size(path):
    return os.path.getsize(path) + (os.path.getsize(path[:-3] + "bin") if path.endswith(".xml") else 0)


def main():
    name, shipped, test = sys.argv[1:4]
    paths = {"shipped": shipped, "again": shipped, **dict(word.split("=", 1) for word in sys.argv[4:])}
    data = np.load(test)
    fields = [f for f in data.files if f != "label"]
    count = min(2000 if name in ("digits", "fashion") else SAMPLES, len(data[fields[0]]))
    labels = data["label"][:count] if "label" in data.files else None
    mask = data["attention_mask"][:count] if "attention_mask" in data.files else None
    feed = {f: data[f][:1] for f in fields}
    sessions, answers = {}, {}
    index = 0
    for label, path in paths.items():
        s = sessions[label] = Session(path, feed)
        if name == "minilm" and label == "shipped":
            index = next(i for i, o in enumerate(s.compiled.outputs) if len(o.partial_shape) == 3)
        answers[label] = np.concatenate([s.answer({f: data[f][i : i + 1] for f in fields}, index) for i in range(count)])
    rounds = race(sessions, feed)
    ms = np.median([r["shipped"] for r in rounds]) * 1000
    print(f"{name}: shipped {ms:.3f} ms, {size(shipped)} bytes, {len(rounds)} rounds, {count} samples")
    figures = {}
    for label in sessions:
        if label == "shipped":
            continue
        ratio = np.array([r["shipped"] / r[label] for r in rounds])
        q = quality(name, shipped, answers["shipped"], answers[label], labels, mask)
        figures[label] = (np.median(ratio), size(paths[label]), q)
        print(
            f"  {label:6} {np.median(ratio):5.2f} times as fast [{np.percentile(ratio, 25):.2f}..{np.percentile(ratio, 75):.2f}], {size(paths[label])} bytes, "
            f"{sessions[label].coverage()}, " + ", ".join(f"{k} {v:.4g}" for k, v in q.items())
        )
    if "ours" not in figures or "nncf" not in figures:
        return
    pair = np.array([r["nncf"] / r["ours"] for r in rounds])
    noise = abs(figures["again"][0] - 1)
    short = []
    if np.median(pair) < 1 - max(0.02, noise):
        short.append("speed")
    if figures["ours"][1] > figures["nncf"][1]:
        short.append("size")
    for k, sign in BETTER.items():
        if k in figures["ours"][2] and sign * (figures["ours"][2][k] - figures["nncf"][2][k]) < -SLACK[k]:
            short.append(k)
    print(f"  ours against nncf: {np.median(pair):.3f} times as fast, {figures['ours'][1] / figures['nncf'][1]:.3f} of the size" + (f"  -> SHORT of {', '.join(short)}" if short else "  -> at least as good"))
    sys.exit(1 if short else 0)


main()
