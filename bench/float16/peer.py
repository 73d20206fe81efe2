"""The usual converter: onnxconverter_common.float16, as its documentation calls it.

usage: peer.py MODEL.onnx OUT.onnx
"""
import sys

import onnx
from onnxconverter_common import float16

onnx.save(float16.convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=True), sys.argv[2])
