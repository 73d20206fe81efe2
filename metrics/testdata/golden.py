"""Writes golden.json: inputs and what scikit-learn, sacreBLEU and jiwer make of them.

python golden.py [OUTPUT]
"""
import json
import pathlib
import sys

import jiwer
import numpy as np
import sacrebleu
from sklearn import metrics as sk

out = {}


def classification(name, n, classes, seed, skip=()):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    labels[np.isin(labels, skip)] = (max(skip) + 1) % classes if skip else 0
    scores = np.round(rng.normal(size=(n, classes)), 6)
    scores[np.arange(n), labels] += 1
    if skip:
        scores[:, list(skip)] -= 100
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    probabilities = np.round(probabilities, 8)
    pred = scores.argmax(1)
    case = {"n": n, "classes": classes, "labels": labels.tolist(), "scores": scores.ravel().tolist(), "want": {}}
    want = case["want"]
    for average in ("micro", "macro", "weighted"):
        for f, key in ((sk.precision_score, "precision"), (sk.recall_score, "recall"), (sk.f1_score, "f1"), (sk.jaccard_score, "iou")):
            want[f"{key}/{average}"] = f(labels, pred, average=average, zero_division=0)
    want["accuracy"] = sk.accuracy_score(labels, pred)
    for k in (1, 2, 3):
        if k < classes and not skip:
            want[f"top{k}"] = sk.top_k_accuracy_score(labels, scores if classes > 2 else scores[:, 1] - scores[:, 0], k=k, labels=range(classes)) if classes > 2 else want["accuracy"]
    if classes == 2:
        for f, key in ((sk.precision_score, "precision"), (sk.recall_score, "recall"), (sk.f1_score, "f1"), (sk.jaccard_score, "iou")):
            want[f"{key}/binary"] = f(labels, pred)
        want["auc"] = sk.roc_auc_score(labels, scores[:, 1])
        coarse = np.round(scores[:, 1])  # many equal scores
        case["coarse"] = coarse.tolist()
        want["auc/ties"] = sk.roc_auc_score(labels, coarse)
    elif not skip:
        # scikit-learn wants rows that sum to 1, which the ranks of a column do not need.
        case["probabilities"] = (probabilities / probabilities.sum(1, keepdims=True)).ravel().tolist()
        p = np.array(case["probabilities"]).reshape(n, classes)
        for average in ("macro", "weighted"):
            want[f"auc/{average}"] = sk.roc_auc_score(labels, p, multi_class="ovr", average=average)
    want["perplexity"] = float(np.exp(sk.log_loss(labels, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), labels=range(classes))))
    out.setdefault("classification", {})[name] = case


classification("two", 200, 2, 1)
classification("ten", 300, 10, 2)
classification("absent", 80, 6, 3, skip=(1, 4))

rng = np.random.default_rng(4)
maps = rng.integers(0, 5, (7, 9, 11))
guess = np.where(rng.random(maps.shape) < 0.7, maps, rng.integers(0, 5, maps.shape))
maps[rng.random(maps.shape) < 0.1] = 255
keep = maps != 255
out["segmentation"] = {
    "shape": maps.shape, "classes": 5, "labels": maps.ravel().tolist(), "predictions": guess.ravel().tolist(),
    "want": {"iou/macro": sk.jaccard_score(maps[keep], guess[keep], average="macro"), "accuracy": sk.accuracy_score(maps[keep], guess[keep])},
}

a = np.round(rng.random((6, 3, 5)), 5).astype(np.float32)
b = np.round(a + rng.normal(scale=0.05, size=a.shape), 5).astype(np.float32)
x, y = a.astype(np.float64).reshape(6, -1), b.astype(np.float64).reshape(6, -1)
out["regression"] = {
    "shape": a.shape, "ref": a.ravel().tolist(), "x": b.ravel().tolist(),
    "want": {
        "mse": sk.mean_squared_error(x.ravel(), y.ravel()), "mae": sk.mean_absolute_error(x.ravel(), y.ravel()),
        "psnr": float(np.mean([10 * np.log10(1 / sk.mean_squared_error(p, q)) for p, q in zip(x, y)])),
        "cosine": float(np.mean([sk.pairwise.cosine_similarity(p[None], q[None])[0, 0] for p, q in zip(x, y)])),
        "sqnr": float(np.mean([10 * np.log10((p**2).sum() / ((p - q) ** 2).sum()) for p, q in zip(x, y)])),
    },
}

references = [
    "The quick brown fox jumps over the lazy dog.",
    "It cost 1,234.56 dollars, didn't it?",
    'He said: "No, <skipped>thank you" &amp; left the well-known 3-day fair (again)...',
    "Größe und Maß: die Straße ist 5 km lang; naïve café.",
    "我们 今天 去 公园。",
    "a",
    "one two three four five six seven",
    "Prices rose 3.5%, from $1.20 to $1.24/litre — e.g. in the U.S.A., not in [brackets] or {braces}.",
    "tabs\tand  double   spaces ",
    "No match here whatsoever",
]
hypotheses = [
    "A quick brown fox jumped over the lazy dog.",
    "It cost 1,234.56 dollars; did it not?",
    'He said "No, thank you" & left the well known 3-day fair again.',
    "Grösse und Mass: die Straße ist 5 km lang, naive Cafés.",
    "我们 昨天 去 了 公园。",
    "b",
    "one two four five seven six",
    "Prices rose by 3.5% from $1.20 to $1.24 per litre, e.g. in the USA, not in [brackets] or {braces}.",
    "tabs and double spaces",
    "",
]
second = [r.replace("the", "a").replace("is", "was") + " indeed" for r in references]
out["text"] = {
    "hypotheses": hypotheses, "references": references, "second": second,
    "tokens": [sacrebleu.metrics.bleu._get_tokenizer("13a")()(s.rstrip()) for s in references + hypotheses],
    "want": {
        # jiwer parts words at spaces only.
        "wer": jiwer.wer([" ".join(r.split()) for r in references], [" ".join(h.split()) for h in hypotheses]),
        "cer": jiwer.cer(references, hypotheses),
        "bleu": sacrebleu.corpus_bleu(hypotheses, [references]).score,
        "bleu/2": sacrebleu.corpus_bleu(hypotheses, [references, second]).score,
        "bleu/smooth": sacrebleu.corpus_bleu(hypotheses[5:7], [references[5:7]]).score,
        "chrf": sacrebleu.corpus_chrf(hypotheses, [references]).score,
        "chrf/2": sacrebleu.corpus_chrf(hypotheses, [references, second]).score,
        "chrf++": sacrebleu.corpus_chrf(hypotheses, [references, second], word_order=2).score,
    },
}

path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("golden.json")
path.write_text(json.dumps(out, indent=None, separators=(",", ":")).replace('"classification"', '\n"classification"').replace(',"want"', ',\n"want"') + "\n")
