"""Calibration with onnxruntime.quantization: the same tensors, samples, method and bins as recipe.hcl beside this file.

usage: peer.py MODEL DATA.npz INPUT SAMPLES METHOD BINS
"""

import os
import sys
import tempfile

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator


class Samples(CalibrationDataReader):
    """One sample at a time."""

    def __init__(self, path, name, count):
        x = np.load(path)["x"][:count]
        self.samples = iter([{name: x[i : i + 1]} for i in range(len(x))])

    def get_next(self):
        return next(self.samples, None)


def main():
    model, data, name, samples, method, bins = sys.argv[1:]
    kind = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy, "percentile": CalibrationMethod.Percentile}[method]
    options = {} if method == "minmax" else {"num_bins": int(bins)}
    if method == "percentile":
        options["percentile"] = 99.999
    with tempfile.TemporaryDirectory() as scratch:
        calibrator = create_calibrator(
            model, None, os.path.join(scratch, "augmented.onnx"), calibrate_method=kind, extra_options=options
        )
        calibrator.collect_data(Samples(data, name, int(samples)))
        ranges = calibrator.compute_data()
    print(len(ranges.data), "tensors")


main()
