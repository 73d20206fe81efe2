"""Speed at batch 1 on one thread, size and quality of candidates against the model as it is shipped.

usage: compare.py NAME SHIPPED TEST.npz LABEL=MODEL ...

Slices of runs take turns, in an order that is flipped each round; a speed-up is the median over rounds of the ratio to
the shipped model's slice of the same round, with the middle half of the rounds in brackets. The shipped model runs twice: "again" is the noise. Exits with 1 when
"ours" falls short of what is asked of it.
"""

import os
import sys
import time

import numpy as np
import onnxruntime

# speed-up at least, size at most (as a share), quality: what is measured and its bound
GOALS = {
    "digits": (1.6, 0.30, {"top1_drop": 0.003, "agreement": 0.985}),
    "fashion": (1.6, 0.30, {"top1_drop": 0.003, "agreement": 0.985}),
    "orientation": (1.10, 0.30, {"agreement": 0.92, "sqnr": 18}),
    "cls": (1.2, 1.0, {"top1_drop": 0.0, "agreement": 1.0}),
    "rec": (1.8, 0.30, {"cer": 0.008}),
    "det": (1.8, 0.30, {"iou": 0.95}),
    "magika": (1.9, 0.40, {"agreement": 0.99}),
    "minilm": (2.0, 0.26, {"cosine": 0.99}),
}
SMALLER_IS_BETTER = {"top1_drop", "cer"}
SECONDS, SLICE, SAMPLES = float(os.environ.get("SECONDS_EACH", 3)), 0.012, 200


def session(path):
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = 1
    o.inter_op_num_threads = 1
    o.log_severity_level = 3
    o.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def time_slice(s, feed):
    runs, start = 0, time.perf_counter()
    while True:
        s.run(None, feed)
        runs += 1
        took = time.perf_counter() - start
        if took >= SLICE:
            return took / runs


def race(sessions, feed):
    for s in sessions.values():
        for _ in range(5):
            s.run(None, feed)
    names, rounds, start = list(sessions), [], time.perf_counter()
    while len(rounds) < 15 or time.perf_counter() - start < SECONDS * len(names):
        order = names if len(rounds) % 2 == 0 else names[::-1]
        took = {n: time_slice(sessions[n], feed) for n in order}
        rounds.append(took)
        if time.perf_counter() - start > 40:
            break
    ratios = {n: np.array([r["shipped"] / r[n] for r in rounds]) for n in names}
    return {n: (np.median(v), np.percentile(v, 25), np.percentile(v, 75)) for n, v in ratios.items()}, rounds


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def read(path, probabilities):
    characters = ["", *onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    best = probabilities.argmax(-1)
    return ["".join(characters[c] for k, c in enumerate(line) if c and (k == 0 or line[k - 1] != c)) for line in best]


def quality(name, shipped, want, got, labels):
    a, b = want.astype(np.float64), got.astype(np.float64)
    noise = ((a - b) ** 2).sum()
    out = {"sqnr": float("inf") if noise == 0 else 10 * np.log10((a**2).sum() / noise)}
    if name == "det":
        p, q = a > 0.3, b > 0.3
        out["iou"] = float(np.mean([(x & y).sum() / max(1, (x | y).sum()) for x, y in zip(p, q)]))
    elif name == "rec":
        text = read(shipped, got)
        out["cer"] = sum(distance(t, str(l)) for t, l in zip(text, labels)) / sum(len(str(l)) for l in labels)
        text = read(shipped, want)
        out["cer_shipped"] = sum(distance(t, str(l)) for t, l in zip(text, labels)) / sum(len(str(l)) for l in labels)
    elif name == "minilm":
        x, y = a.mean(1), b.mean(1)
        out["cosine"] = float(np.mean((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)))
    else:
        out["agreement"] = float((a.argmax(-1) == b.argmax(-1)).mean())
        if labels is not None:
            out["top1_drop"] = float((a.argmax(-1) == labels).mean() - (b.argmax(-1) == labels).mean())
    return out


def main():
    name, shipped, test = sys.argv[1:4]
    paths = {"shipped": shipped, "again": shipped, **dict(word.split("=", 1) for word in sys.argv[4:])}
    data = np.load(test)
    fields = [f for f in data.files if f != "label"]
    count = min(2000 if name in ("digits", "fashion") else SAMPLES, len(data[fields[0]]))
    labels = data["label"][:count] if "label" in data.files else None
    first = onnxruntime.InferenceSession(shipped)
    inputs = {i.name for i in first.get_inputs()}
    output = next((o.name for o in first.get_outputs() if o.type == "tensor(float)" and len(o.shape) == 3), None) if name == "minilm" else None
    feed = {f: data[f][:1] for f in fields if f in inputs}

    sessions, answers = {}, {}
    for label, path in paths.items():
        try:
            sessions[label] = session(path)
            rows = [sessions[label].run([output] if output else None, {f: data[f][i : i + 1] for f in feed})[0] for i in range(count)]
            answers[label] = np.concatenate(rows)
        except Exception as e:  # a peer's file may not load
            print(f"{name}: {label} does not run: {str(e).splitlines()[0][:150]}")
            sessions.pop(label, None)
    times, rounds = race(sessions, feed)
    ms = np.median([r["shipped"] for r in rounds]) * 1000
    print(f"{name}: shipped {ms:.3f} ms, {os.path.getsize(shipped)} bytes, {len(rounds)} rounds, {count} samples")
    ok = True
    for label in sessions:
        if label == "shipped":
            continue
        mid, low, high = times[label]
        size = os.path.getsize(paths[label]) / os.path.getsize(shipped)
        q = quality(name, shipped, answers["shipped"], answers[label], labels)
        line = f"  {label:8} {mid:5.2f} times as fast [{low:.2f}..{high:.2f}], size {size:.2f}, " + ", ".join(f"{k} {v:.4g}" for k, v in q.items())
        if label == "ours" and name in GOALS:
            speed, share, bounds = GOALS[name]
            short = [f"speed {speed}"] * int(mid < speed) + [f"size {share}"] * int(round(size, 2) > share)
            short += [f"{k} {v}" for k, v in bounds.items() if k in q and (q[k] > v + 1e-9 if k in SMALLER_IS_BETTER else q[k] < v - 1e-9)]
            ok = not short
            line += "  -> all that is asked" if ok else "  -> SHORT of " + ", ".join(short)
        print(line)
    sys.exit(0 if ok else 1)


main()
