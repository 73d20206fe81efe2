"""Writes recipes with data whose figures scikit-learn, sacreBLEU and jiwer know, and those figures.

python metrics.py FOLDER: one folder a task below it, each with recipe.hcl, its data, and want.json: by candidate and
metric the figure, and where "low" and "high" are there too, a percentile bootstrap over samples. The models answer
y = x (base.onnx) and y = x + e (noisy.onnx).
"""
import json
import pathlib
import sys

import jiwer
import numpy as np
import sacrebleu
from sklearn import metrics as sk

root = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(20261124)


def bootstrap(n, figure, times=600):
    values = [figure(rng.integers(0, n, n)) for _ in range(times)]
    return np.percentile(values, 2.5), np.percentile(values, 97.5)


def task(name, source, block, metrics, want, files=()):
    """block is what the dataset takes beside its inputs, metrics what the evaluation takes beside its models."""
    at = root / name
    at.mkdir()
    for path, write in files:
        write(at / path)
    (at / "want.json").write_text(json.dumps(want))
    (at / "recipe.hcl").write_text(f'''
model "base" {{
  source = "../base.onnx"
}}
model "noisy" {{
  source = "../noisy.onnx"
}}
dataset "data" {{
  source = "{source}"
  {block}
  input "x" {{ dtype = "float32" }}
  input "e" {{ dtype = "float32" }}
}}
evaluate "{name}" {{
  dataset    = dataset.data
  baseline   = model.base
  candidates = {{ noisy = model.noisy }}
  {metrics}
}}
''')


def npz(**arrays):
    return [("data.npz", lambda p: np.savez(p, **arrays))]


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


shares = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score, "iou": sk.jaccard_score}

# Classes.
n, c = 400, 7
label = rng.choice(c, n, p=[.3, .2, .15, .15, .1, .06, .04])
x = rng.normal(size=(n, c)).astype(np.float32)
x[np.arange(n), label] += 1.5
e = rng.normal(scale=.6, size=(n, c)).astype(np.float32)
want = {}
for who, y in (("baseline", x), ("noisy", x + e)):
    w = want[who] = {}
    guess = y.argmax(1)
    for name, f in shares.items():
        for average in ("macro", "micro", "weighted"):
            w[f"{name}_{average}"] = f(label, guess, average=average, zero_division=0)
        w["one_" + name] = f(label, guess, average=None, labels=range(c))[3]
    w["accuracy"] = w["top1"] = sk.accuracy_score(label, guess)
    for k in (2, 5):
        w[f"top{k}"] = sk.top_k_accuracy_score(label, y, k=k, labels=range(c))
    p = softmax(y.astype(np.float64))
    w["roc_auc"] = sk.roc_auc_score(label, p, multi_class="ovr", average="macro")
    w["auc_weighted"] = sk.roc_auc_score(label, p, multi_class="ovr", average="weighted")
    w["perplexity"] = np.exp(sk.log_loss(label, p, labels=range(c)))
y = x + e
a, b = x.astype(np.float64), y.astype(np.float64)
w = want["noisy"]
w["agreement"] = np.mean(x.argmax(1) == y.argmax(1))
w["mse"], w["mae"] = sk.mean_squared_error(a, b), sk.mean_absolute_error(a, b)
w["psnr"] = np.mean([10 * np.log10(4**2 / sk.mean_squared_error(p, q)) for p, q in zip(a, b)])
w["sqnr"] = np.mean([10 * np.log10((p**2).sum() / ((p - q) ** 2).sum()) for p, q in zip(a, b)])
w["cosine"] = np.mean(sk.pairwise.paired_distances(a, b, metric="cosine") * -1 + 1)
for name in ("top1", "top5", "f1_macro", "iou_weighted", "roc_auc"):
    w[name + "_drop"] = want["baseline"][name] - w[name]
w["perplexity_rise"] = w["perplexity"] - want["baseline"]["perplexity"]
guess, p = y.argmax(1), softmax(b)
bounds = {
    "f1_macro": lambda i: sk.f1_score(label[i], guess[i], average="macro", zero_division=0),
    "top1": lambda i: np.mean(label[i] == guess[i]),
    "f1_macro_drop": lambda i: sk.f1_score(label[i], x[i].argmax(1), average="macro", zero_division=0) - sk.f1_score(label[i], guess[i], average="macro", zero_division=0),
    "mse": lambda i: np.mean((a[i] - b[i]) ** 2),
    "perplexity": lambda i: np.exp(sk.log_loss(label[i], p[i], labels=range(c))),
}
want["bounds"] = {k: bootstrap(n, f) for k, f in bounds.items()}
plain = [f"{k}_{v}" for k in shares for v in ("macro", "micro", "weighted")]
plain += ["top1", "top2", "top5", "accuracy", "roc_auc", "perplexity", "agreement", "mse", "mae", "sqnr", "cosine"]
plain += ["top1_drop", "top5_drop", "f1_macro_drop", "iou_weighted_drop", "roc_auc_drop", "perplexity_rise"]
blocks = "".join(f'metric "one_{k}" {{\n kind = "{k}"\n class = 3\n}}\n' for k in shares)
task("classes", "data.npz", 'label = "label"', f"metrics = {json.dumps(plain)}\n{blocks}" + '''
  metric "auc_weighted" {
    kind    = "roc_auc"
    average = "weighted"
  }
  metric "psnr" { span = 4 }
''', want, npz(x=x, e=e, label=label))

# One score a sample, and a rare class.
n = 300
label = (rng.random(n) < .15).astype(np.int64)
x = (rng.normal(size=n) + 1.2 * label).astype(np.float32)
e = np.round(rng.normal(scale=.5, size=n), 1).astype(np.float32)  # ties
x = np.round(x, 1).astype(np.float32)
want = {}
for who, y in (("baseline", x), ("noisy", x + e)):
    guess = (y >= .75).astype(np.int64)
    want[who] = {name: f(label, guess) for name, f in shares.items()}
    want[who]["accuracy"] = sk.accuracy_score(label, guess)
    want[who]["auc"] = sk.roc_auc_score(label, y)
blocks = "".join(f'metric "{k}" {{\n class = 1\n threshold = 0.75\n}}\n' for k in shares)
task("rare", "data.npz", 'label = "label"', blocks + '''
  metric "accuracy" { threshold = 0.75 }
  metric "auc" { kind = "roc_auc" }
''', want, npz(x=x, e=e, label=label))

# Maps of classes, a part of them not labelled.
shape, c = (12, 15, 17), 5
mask = rng.integers(0, c, shape)
x = rng.normal(size=(shape[0], c, *shape[1:])).astype(np.float32)
np.put_along_axis(x, mask[:, None], np.take_along_axis(x, mask[:, None], 1) + 1, 1)
e = rng.normal(scale=.7, size=x.shape).astype(np.float32)
mask[rng.random(shape) < .2] = 255
keep = mask != 255
want = {}
for who, y in (("baseline", x), ("noisy", x + e)):
    guess = y.argmax(1)
    w = want[who] = {}
    for name, f in shares.items():
        for average in ("macro", "micro", "weighted"):
            w[f"{name}_{average}"] = f(mask[keep], guess[keep], average=average)
    w["accuracy"] = sk.accuracy_score(mask[keep], guess[keep])
    w["road"] = sk.jaccard_score(mask[keep], guess[keep], average=None)[2]
blocks = "".join(f'metric "{k}_{v}" {{\n kind = "{k}"\n target = "mask"\n ignore = 255\n average = "{v}"\n}}\n' for k in shares for v in ("macro", "micro", "weighted"))
task("maps", "data.npz", 'target "mask" {}', blocks + '''
  metric "accuracy" {
    target = "mask"
    ignore = 255
  }
  metric "road" {
    kind   = "iou"
    target = "mask"
    ignore = 255
    class  = 2
  }
''', want, npz(x=x, e=e, mask=mask))

# Tokens, some of which do not count.
n, t, c = 60, 9, 11
token = rng.integers(0, c, (n, t))
x = rng.normal(size=(n, t, c)).astype(np.float32)
np.put_along_axis(x, token[..., None], np.take_along_axis(x, token[..., None], 2) + 2, 2)
e = rng.normal(scale=.5, size=x.shape).astype(np.float32)
token[rng.random(token.shape) < .25] = -100
keep = token != -100
want = {}
for who, y in (("baseline", x), ("noisy", x + e)):
    want[who] = {"perplexity": np.exp(sk.log_loss(token[keep], softmax(y[keep].astype(np.float64)), labels=range(c)))}
task("tokens", "data.npz", 'target "token" {}', '''
  metric "perplexity" {
    target = "token"
    ignore = -100
  }
''', want, npz(x=x, e=e, token=token))

# Texts that a network writes letter by letter.
letters = "abcdefgh.,' "
words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 6))) for _ in range(30)]
n, steps = 80, 100
references, mistaken = [], []
for _ in range(n):
    line = " ".join(rng.choice(words, rng.integers(3, 9))) + rng.choice(["", ".", ", a"])
    references.append(line)
    other = " ".join(w for w in line.split() if rng.random() > .15).split() or ["a"]
    other = [rng.choice(words) if rng.random() < .15 else w for w in other]
    text = list(" ".join(other))
    for i in range(len(text)):
        if rng.random() < .05 and text[i] != " ":
            text[i] = rng.choice(list("abcdefgh"))
    mistaken.append("".join(text))


def spell(lines):
    """Scores [N, T, 1 + letters] whose best path is the line: a blank between equal letters, letters that last."""
    y = np.zeros((len(lines), steps, 1 + len(letters)), np.float32)
    for k, line in enumerate(lines):
        path = []
        for i, ch in enumerate(line):
            at = letters.index(ch) + 1
            if path and path[-1] == at:
                path.append(0)
            path += [at] * (1 + i % 2)
        path += [0] * (steps - len(path))
        assert len(path) == steps
        y[k, np.arange(steps), path] = 5
    return y


x, y = spell(references), spell(mistaken)
want = {}
for who, lines in (("baseline", references), ("noisy", mistaken)):
    want[who] = {
        "cer": jiwer.cer(references, lines), "wer": jiwer.wer(references, lines), "bleu": sacrebleu.corpus_bleu(lines, [references]).score,
        "chrf": sacrebleu.corpus_chrf(lines, [references]).score, "chrfpp": sacrebleu.corpus_chrf(lines, [references], word_order=2).score,
    }
want["bounds"] = {
    "cer": bootstrap(n, lambda i: jiwer.cer([references[j] for j in i], [mistaken[j] for j in i]), 300),
    "bleu": bootstrap(n, lambda i: sacrebleu.corpus_bleu([mistaken[j] for j in i], [[references[j] for j in i]]).score, 300),
}


def lines(path):
    with path.open("w") as f:
        for i in range(n):
            f.write(json.dumps({"x": x[i].tolist(), "e": (y - x)[i].tolist(), "text": references[i]}) + "\n")


blocks = "".join(f'metric "{k}" {{\n target = "text"\n decode = "ctc"\n alphabet = {json.dumps(letters)}\n}}\n' for k in ("cer", "wer", "bleu", "chrf"))
task("texts", "data.jsonl", 'target "text" {}', blocks + f'''
  metric "chrfpp" {{
    kind     = "chrf"
    words    = 2
    target   = "text"
    decode   = "ctc"
    alphabet = {json.dumps(letters)}
  }}
''', want, [("data.jsonl", lines)])
