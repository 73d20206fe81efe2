"""Reads a model and writes it again, with another producer: roundtrip.py IN OUT."""
import sys

import onnx

m = onnx.load(sys.argv[1])
m.producer_name = "roundtrip.py"
onnx.save(m, sys.argv[2])
