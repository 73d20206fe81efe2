"""Chooses ranges with ONNX Runtime's own histogram collector.

usage: referee.py JOB.json; the job lists cases: a file of float32 values, the number of samples they are, a method,
bins and a percentile. Prints the ranges as JSON, and where bins is 0 those of min-max and of the moving average.
"""
import contextlib
import json
import os
import sys

import numpy as np
from onnxruntime.quantization.calibrate import HistogramCollector

out = []
for c in json.load(open(sys.argv[1])):
    samples = np.fromfile(c["file"], np.float32).reshape(c["samples"], -1)
    if c["bins"] == 0:
        lo, hi = samples.min(1), samples.max(1)
        out.append([float(lo.min()), float(hi.max()), float(lo.mean(dtype=np.float64)), float(hi.mean(dtype=np.float64))])
        continue
    collector = HistogramCollector(c["method"], False, c["bins"], 128, c["percentile"], "same")
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        collector.collect({"t": list(samples)})
        r = collector.compute_collection_result()["t"]
    out.append([float(r[0]), float(r[1])])
json.dump(out, sys.stdout)
