"""Reads a model and writes it again, with another producer: roundtrip.py IN OUT [sync]."""
import os
import sys

import onnx

m = onnx.load(sys.argv[1])
m.producer_name = "roundtrip.py"
onnx.save(m, sys.argv[2])
if sys.argv[3:] == ["sync"]:
    with open(sys.argv[2], "rb+") as f:
        os.fsync(f.fileno())
