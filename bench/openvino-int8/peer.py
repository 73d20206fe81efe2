"""NNCF's quantize with no options but the number of samples, saved as IR: what a user gets who asks for nothing.

usage: peer.py MODEL CALIBRATION.npz OUTPUT.xml
"""

import sys

import nncf
import numpy as np
import openvino

SAMPLES = 64

data = np.load(sys.argv[2])
model = openvino.Core().read_model(sys.argv[1])
names = [i.any_name for i in model.inputs]
count = min(SAMPLES, len(data[names[0]]))
samples = [{n: data[n][i : i + 1] for n in names} for i in range(count)]
openvino.save_model(nncf.quantize(model, nncf.Dataset(samples), subset_size=count), sys.argv[3])
