"""What BenchmarkNumbers of package tensor does, with NumPy and ml_dtypes: python peer.py ROUNDS prints the best time in ms."""
import sys
import time

import ml_dtypes
import numpy as np

rounds, n = int(sys.argv[1]), 1 << 24
reals = (np.sin(np.arange(n, dtype=np.float64)) * 3).astype(np.float32)
half, brain, double, ints = reals.astype(np.float16), reals.astype(ml_dtypes.bfloat16), reals.astype(np.float64), np.zeros(n, np.int64)
for name, do in {
    "F16-F32": lambda: half.astype(np.float32), "BF16-F32": lambda: brain.astype(np.float32), "F64-F32": lambda: double.astype(np.float32),
    "I64-F32": lambda: ints.astype(np.float32), "F32-F16": lambda: reals.astype(np.float16), "F32-BF16": lambda: reals.astype(ml_dtypes.bfloat16),
    "scan-F32": lambda: np.isfinite(reals).all(), "scan-F16": lambda: np.isfinite(half).all(),
}.items():
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        do()
        best = min(best, time.perf_counter() - start)
    print(f"{name} {best * 1e3:.2f}")
