"""Reads a model and writes it again, with another producer: copy.py IN OUT."""
import sys

import onnx

m = onnx.load(sys.argv[1])
m.producer_name = "copy.py"
onnx.save(m, sys.argv[2])
