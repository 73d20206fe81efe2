"""Speed at batch 1 on one thread, size and quality of candidates against the model as it is shipped.

usage: compare.py NAME SHIPPED CALIBRATION.npz TEST.npz TABLE LABEL=MODEL ...

Slices of runs take turns, in an order that is flipped each round; a speed-up is the median over rounds of the ratio to
the shipped model's slice of the same round, in brackets the 95% interval of that median (bootstrap over rounds), made as wide as the
shipped model's against itself. That one is "again": the noise. A row for the model goes to TABLE. Exits with 1 when "ours" falls short of what
is asked of it, or when a peer's result is at least as good in quality, speed and size together, and better in one.
"""

import os
import sys
import time

import numpy as np
import onnxruntime

# speed-up at least, size at most (as a share), quality: what is measured and its bound
GOALS = {
    "digits": (1.6, 0.30, {"agreement": 0.985, "top1_drop": 0.003}),
    "fashion": (1.6, 0.30, {"agreement": 0.985, "top1_drop": 0.003}),
    "resnet18": (2.8, 0.26, {"sqnr": "tuned"}),
    "orientation": (1.10, 0.30, {"agreement": 0.92, "sqnr": 18}),
    "cls": (1.2, 1.0, {"agreement": 1.0, "top1_drop": 0.0}),
    "rec": (1.8, 0.30, {"cer": 0.008}),
    "det": (1.8, 0.30, {"iou": 0.95}),
    "magika": (1.9, 0.40, {"agreement": 0.99, "top1_drop": 0.003}),
    "minilm": (2.0, 0.26, {"cosine": 0.99}),
    "silero15": (1.25, 0.75, {"auc_drop": 0.004}),
    "silero18": (1.08, 0.75, {"auc_drop": 0.004}),
}
# What differs by less is equal: so much is chance on this much data.
EQUAL = {"agreement": 0.002, "sqnr": 0.3, "cer": 0.0005, "iou": 0.002, "cosine": 0.0005, "auc_drop": 0.0005}
SMALLER_IS_BETTER = {"top1_drop", "cer", "auc_drop"}
SECONDS, SLICE = float(os.environ.get("SECONDS_EACH", 5)), 0.012
SAMPLES = {"digits": 2000, "fashion": 10000, "resnet18": 64, "magika": 800}


def session(path, threads=1):
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = threads
    o.inter_op_num_threads = 1
    o.log_severity_level = 3
    o.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def time_slice(s, feed):
    s.run(None, feed)  # what others left in the caches is not the model's
    runs, start = 0, time.perf_counter()
    while True:
        s.run(None, feed)
        runs += 1
        took = time.perf_counter() - start
        if took >= SLICE:
            return took / runs


def median_interval(ratios):
    rng = np.random.default_rng(1)
    medians = np.median(ratios[rng.integers(0, len(ratios), (1000, len(ratios)))], axis=1)
    return np.median(ratios), np.percentile(medians, 2.5), np.percentile(medians, 97.5)


def race(sessions, feed):
    for s in sessions.values():
        for _ in range(5):
            s.run(None, feed)
    names, rounds, start = list(sessions), [], time.perf_counter()
    while len(rounds) < 25 or time.perf_counter() - start < SECONDS * len(names):
        order = names if len(rounds) % 2 == 0 else names[::-1]
        rounds.append({n: time_slice(sessions[n], feed) for n in order})
        if time.perf_counter() - start > 60:
            break
    times = {n: median_interval(np.array([r["shipped"] / r[n] for r in rounds])) for n in names}
    off = max(abs(x - 1) for x in times["again"])
    for n, (mid, low, high) in times.items():
        if n not in ("shipped", "again"):
            times[n] = mid, min(low, mid * (1 - off)), max(high, mid * (1 + off))
    return times, rounds


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def read(path, probabilities):
    """The text of each line. Spaces at its ends are no text."""
    characters = ["", *onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    best = probabilities.argmax(-1)
    return ["".join(characters[c] for k, c in enumerate(line) if c and (k == 0 or line[k - 1] != c)).strip() for line in best]


def auc(score, label):
    """The share of pairs of a frame with speech and one without in which the former scores higher."""
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    for v in np.unique(score):  # equal scores share their rank
        same = score == v
        if same.sum() > 1:
            ranks[same] = ranks[same].mean()
    n = label.sum()
    return (ranks[label].sum() - n * (n + 1) / 2) / (n * (len(label) - n))


def quality(name, shipped, want, got, labels, mask):
    a, b = want.astype(np.float64), got.astype(np.float64)
    noise = ((a - b) ** 2).sum()
    out = {"sqnr": float("inf") if noise == 0 else 10 * np.log10((a**2).sum() / noise)}
    if name == "det":
        p, q = a > 0.3, b > 0.3
        out["iou"] = float(np.mean([(x & y).sum() / max(1, (x | y).sum()) for x, y in zip(p, q)]))
    elif name == "rec":
        total = sum(len(str(l)) for l in labels)
        out["cer"] = sum(distance(t, str(l)) for t, l in zip(read(shipped, got), labels)) / total
        out["cer_shipped"] = sum(distance(t, str(l)) for t, l in zip(read(shipped, want), labels)) / total
    elif name == "minilm":
        m = mask[:, :, None]
        x, y = (a * m).sum(1), (b * m).sum(1)
        cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        out["cosine"], out["cosine_min"] = float(np.mean(cosines)), float(np.min(cosines))
    elif name.startswith("silero"):
        out["auc_drop"], out["auc"] = auc(a, labels) - auc(b, labels), auc(b, labels)
        out["accuracy_drop"] = float(((a > 0.5) == labels).mean() - ((b > 0.5) == labels).mean())
    else:
        out["agreement"] = float((a.argmax(-1) == b.argmax(-1)).mean())
        if labels is not None:
            out["top1_drop"] = float((a.argmax(-1) == labels).mean() - (b.argmax(-1) == labels).mean())
    return out


def answer(s, name, data, count, output):
    """What a model says of the test data: sample by sample, or frame by frame with its own states."""
    takes = {i.name for i in s.get_inputs()}
    if not name.startswith("silero"):
        return np.concatenate([s.run([output] if output else None, {f: data[f][i : i + 1] for f in data if f in takes})[0] for i in range(count)])
    pcm, out = data["pcm"], []
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
    for at in range(0, count * 512, 512):
        x = np.concatenate([context, pcm[at : at + 512]])
        p, state = s.run(["output", "stateN"], {"input": x[None], "state": state, "sr": np.array(16000, np.int64)})
        out.append(p[0, 0])
        context = x[-64:]
    return np.array(out)


def judged(name, sessions, paths, times, answers, shipped, labels, mask):
    rows = {}
    for label in sessions:
        if label == "shipped":
            continue
        rows[label] = dict(zip(("speed", "low", "high"), times[label]), size=os.path.getsize(paths[label]) / os.path.getsize(shipped),
                           **quality(name, shipped, answers["shipped"], answers[label], labels, mask))
    return rows


def shortfalls(name, rows):
    ours, (speed, share, bounds) = rows["ours"], GOALS[name]
    out = [f"speed {speed}"] * int(ours["speed"] < speed) + [f"size {share}"] * int(round(ours["size"], 2) > share)
    for k, v in bounds.items():
        if v in rows:
            v = rows[v][k]
        if v == "tuned":
            continue  # that peer's file does not run
        if ours[k] > v + 1e-9 if k in SMALLER_IS_BETTER else ours[k] < v - 1e-9:
            out.append(f"{k} {v:.4g}")
    key = next(iter(bounds))  # what quality is here
    sign = -1 if key in SMALLER_IS_BETTER else 1
    for label, peer in rows.items():
        if label in ("ours", "again"):
            continue
        diffs = sign * (peer[key] - ours[key]), peer["speed"] - ours["speed"], ours["size"] - peer["size"]
        # Speeds within each other's interval are equal, and so are sizes to a percent.
        near = EQUAL[key], max(peer["high"] - peer["speed"], ours["speed"] - ours["low"]), 0.01
        if all(d >= -n for d, n in zip(diffs, near)) and any(d > n for d, n in zip(diffs, near)):
            out.append(f"what {label} makes, which is as good in all and better in one")
    return out


def main():
    name, shipped, calibration, test, table = sys.argv[1:6]
    paths = {"shipped": shipped, "again": shipped, **dict(word.split("=", 1) for word in sys.argv[6:])}
    data = dict(np.load(test))
    fields = [f for f in data if f != "label"]
    silero = name.startswith("silero")
    count = len(data["label"]) if silero else min(SAMPLES.get(name, 200), len(data[fields[0]]))
    labels = data["label"][:count] if "label" in data else None
    mask = data["attention_mask"][:count] if "attention_mask" in data else None
    first = session(shipped)
    output = next((o.name for o in first.get_outputs() if o.type == "tensor(float)" and len(o.shape) == 3), None) if name == "minilm" else None
    if silero:
        c = np.load(calibration)
        feed = {"input": c["input"][:1], "state": c["state"][0], "sr": np.asarray(c["sr"][0])}
    else:
        inputs = {i.name for i in first.get_inputs()}
        feed = {f: data[f][:1] for f in fields if f in inputs}

    sessions, answers = {}, {}
    for label, path in paths.items():
        try:
            sessions[label] = session(path)
            answers[label] = answers["shipped"] if label == "again" else answer(session(path, 0), name, data, count, output)
        except Exception as e:  # a peer's file may not load
            print(f"{name}: {label} does not run: {str(e).splitlines()[0][:150]}")
            sessions.pop(label, None)
    times, rounds = race(sessions, feed)
    ms = np.median([r["shipped"] for r in rounds]) * 1000
    print(f"{name}: shipped {ms:.3f} ms, {os.path.getsize(shipped)} bytes, {len(rounds)} rounds, {count} samples")
    rows = judged(name, sessions, paths, times, answers, shipped, labels, mask)
    short = shortfalls(name, rows) if "ours" in rows else ["a model that runs"]
    for label, r in rows.items():
        measures = ", ".join(f"{k} {v:.4g}" for k, v in r.items() if k not in ("speed", "low", "high", "size"))
        verdict = "" if label != "ours" else "  -> SHORT of " + ", ".join(short) if short else "  -> all that is asked"
        print(f"  {label:8} {r['speed']:5.2f} times as fast [{r['low']:.2f}..{r['high']:.2f}], size {r['size']:.2f}, {measures}{verdict}")

    def cell(label):
        r = rows.get(label)
        if r is None:
            return "does not run"
        keys = list(GOALS[name][2])
        return f"{r['speed']:.2f} [{r['low']:.2f}..{r['high']:.2f}], {r['size']:.2f}, " + ", ".join(f"{k} {r[k]:.3g}" for k in keys)

    peers = [label for label in paths if label not in ("shipped", "again", "ours")]
    again = times["again"]
    speed, share, bounds = GOALS[name]
    asked = f"{speed}, {share}, " + ", ".join(f"{k} {v}" for k, v in bounds.items())
    with open(table, "a") as f:
        f.write(f"| {name}, {ms:.3g} ms | {cell('ours')} | {asked} | {'short of ' + ', '.join(short) if short else 'all'} | {again[0]:.2f} [{again[1]:.2f}..{again[2]:.2f}] | "
                + "; ".join(f"{p}: {cell(p)}" for p in peers) + " |\n")
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
