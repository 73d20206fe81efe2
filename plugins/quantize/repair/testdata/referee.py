"""Judges weight repair with numpy in float64.

usage: referee.py JOB.json; the job lists layers ("w" [N, K], "h" [K, K], "scales" [N], "qmax", the codes of "gptq" and
"adaround") and pairs of layers ("w1" [O, I], "w2" [P, O] before, "v1" and "v2" after equalization).
Prints one line per finding and exits 1 when there is one.
"""
import json
import sys

import numpy as np

job = json.load(open(sys.argv[1]))
bad = []


def error(w, q, s, h):
    d = w - q * s[:, None]
    return float(np.einsum("nk,kl,nl->", d, h, d))


def gptq(w, h, s, qmax, damping=0.01):
    """Column by column, with the whole inverse updated by elimination: no factorization, unlike ours."""
    w, h = w.copy(), h.copy()
    k = len(h)
    dead = np.diag(h) == 0
    mean = np.diag(h).mean()
    h[dead, dead] = mean
    inv = np.linalg.inv(h + damping * mean * np.eye(k))
    q = np.zeros_like(w)
    for j in range(k):
        q[:, j] = np.clip(np.round(w[:, j] / s), -qmax, qmax)
        e = (w[:, j] - q[:, j] * s) / inv[j, j]
        w[:, j:] -= np.outer(e, inv[j, j:])
        inv -= np.outer(inv[:, j], inv[j, :]) / inv[j, j]
    return q


for n, l in enumerate(job["layers"]):
    w, h, s = (np.array(l[x], np.float64) for x in ("w", "h", "scales"))
    near = error(w, np.clip(np.round(w / s[:, None]), -l["qmax"], l["qmax"]), s, h)
    want = gptq(w, h, s, l["qmax"])
    ours, ada = np.array(l["gptq"], np.float64), np.array(l["adaround"], np.float64)
    same = float((ours == want).mean())
    e, r, a = error(w, ours, s, h), error(w, want, s, h), error(w, ada, s, h)
    print(f"layer {n}: nearest {near:.4g}, GPTQ {e:.4g} (numpy {r:.4g}, {same:.4f} of the codes alike), AdaRound {a:.4g}")
    if e > 1.01 * r:
        bad.append(f"layer {n}: GPTQ leaves {e}, numpy {r}")
    if same < 0.99:
        bad.append(f"layer {n}: only {same} of GPTQ's codes are numpy's")
    if a > 1.05 * e:
        bad.append(f"layer {n}: AdaRound leaves {a}, GPTQ {e}")

for n, p in enumerate(job["pairs"]):
    w1, w2, v1, v2 = (np.array(p[x], np.float64) for x in ("w1", "w2", "v1", "v2"))
    r1, r2 = np.abs(w1).max(1), np.abs(w2).max(0)
    s = np.sqrt(r1 / r2)
    for name, got, want in (("first", v1, w1 / s[:, None]), ("second", v2, w2 * s[None, :])):
        off = float(np.abs(got - want).max() / np.abs(want).max())
        if off > 1e-6:
            bad.append(f"pair {n}: the {name} weight is off by {off}")

print(f"{len(job['layers'])} layers and {len(job['pairs'])} pairs judged")
for b in bad:
    print("BAD", b)
sys.exit(1 if bad else 0)
