"""Dynamic quantization with onnxruntime.quantization: signed 8-bit weights with a scale per channel, tables too.

usage: peer.py MODEL OUTPUT
"""

import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8, per_channel=True)
