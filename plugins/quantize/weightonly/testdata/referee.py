"""Quantizes weights with ONNX Runtime's own quantizers, and with plain NumPy versions of HQQ and GPTQ.

usage: referee.py FOLDER; FOLDER/job.json lists {"name", "kind", "n", "k", "block", "bits", "symmetric"}, FOLDER/NAME.w
holds the weight, float32 [k, n], and for gptq FOLDER/NAME.h the Hessian, float32 [k, k]. Writes FOLDER/NAME.codes,
.scales and .zeros as MatMulNBits and MatMulBnb4 store them, and for hqq and gptq FOLDER/NAME.back, float32 [k, n].
"""
import json
import os
import sys

import numpy as np
from onnxruntime.capi import _pybind_state as c

folder = sys.argv[1]


def hqq(w, block):
    """Half-quadratic quantization with real zeros (Badri and Shaji 2023, algorithm 1): p 0.7, beta 10, kappa 1.01, 20 rounds."""
    k, n = w.shape
    per = -(-k // block)
    x = np.zeros((n * per, block), np.float32)
    x.reshape(n, -1)[:, :k] = w.T
    lo, hi = x.min(1, keepdims=True), x.max(1, keepdims=True)
    scale = np.minimum(15 / np.where(hi > lo, hi - lo, 15), 2e4).astype(np.float32)
    zero, beta, best = np.round(-lo * scale), 10.0, 1e4
    for _ in range(20):
        q = np.clip(np.round(x * scale + zero), 0, 15)
        e = x - (q - zero) / scale
        shrunk = np.sign(e) * np.maximum(np.abs(e) - np.power(np.abs(e) + 1e-8, -0.3) / beta, 0)
        zero = (q - (x - shrunk) * scale).mean(1, keepdims=True)
        beta *= 1.01
        if np.abs(e).mean() >= best:
            break
        best = np.abs(e).mean()
    back = (np.clip(np.round(x * scale + zero), 0, 15) - zero) / scale
    return back.reshape(n, -1)[:, :k].T


def gptq(w, h, block, symmetric):
    """GPTQ (Frantar et al. 2022, algorithm 1) with the grid of each block taken from its bounds when it is reached."""
    w, h = w.astype(np.float64), h.astype(np.float64)
    k = len(w)
    h[np.arange(k), np.arange(k)] += 0.01 * np.mean(np.diag(h))
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    for i in range(k):
        if i % block == 0:
            b = w[i : i + block]
            lo, hi = np.minimum(b.min(0), 0), np.maximum(b.max(0), 0)
            if symmetric:
                hi = np.maximum(-lo, hi)
                lo = -hi
            scale = np.where(hi > lo, hi - lo, 1) / 15
            zero = np.full_like(scale, 8) if symmetric else np.round(-lo / scale)
        q = (np.clip(np.round(w[i] / scale) + zero, 0, 15) - zero) * scale
        e = (w[i] - q) / u[i, i]
        w[i] = q
        w[i + 1 :] -= np.outer(u[i, i + 1 :], e)
    return w


for job in json.load(open(os.path.join(folder, "job.json"))):
    path = os.path.join(folder, job["name"])
    n, k, block, bits, symmetric = job["n"], job["k"], job["block"], job["bits"], job["symmetric"]
    w = np.fromfile(path + ".w", np.float32).reshape(k, n)
    if job["kind"] in ("nf4", "fp4"):
        codes, scales = np.zeros((n * k + 1) // 2, np.uint8), np.zeros(-(-n * k // block), np.float32)
        c.quantize_matmul_bnb4(codes, w.T.copy(), scales, block, {"fp4": 0, "nf4": 1}[job["kind"]], n, k)
        codes.tofile(path + ".codes")
        scales.tofile(path + ".scales")
    elif job["kind"] == "rtn":
        per = -(-k // block)
        codes, scales = np.zeros((n, per, block * bits // 8), np.uint8), np.zeros((n, per), np.float32)
        zeros = np.zeros(n * (-(-per * bits // 8)), np.uint8)
        getattr(c, f"quantize_matmul_{bits}bits")(codes, w, scales, zeros, block, n, k, symmetric)
        codes.tofile(path + ".codes")
        scales.tofile(path + ".scales")
        zeros.tofile(path + ".zeros")
    else:
        h = np.fromfile(path + ".h", np.float32).reshape(k, k)
        back = hqq(w, block) if job["kind"] == "hqq" else gptq(w, h, block, symmetric)
        back.astype(np.float32).tofile(path + ".back")
