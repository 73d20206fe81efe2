"""quantize_static of onnxruntime.quantization with no options: what a user gets who asks for nothing.

usage: peer.py MODEL CALIBRATION.npz OUTPUT
"""

import sys

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static

SAMPLES = 64


class Reader(CalibrationDataReader):
    def __init__(self, path):
        data = np.load(path)
        count = min(SAMPLES, len(data[data.files[0]]))
        self.samples = iter([{k: data[k][i : i + 1] for k in data.files if k != "label"} for i in range(count)])

    def get_next(self):
        return next(self.samples, None)


quantize_static(sys.argv[1], sys.argv[3], Reader(sys.argv[2]))
