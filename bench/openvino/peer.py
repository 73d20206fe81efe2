"""Writes an ONNX model as IR by Python's openvino, weights as they are: peer.py MODEL.onnx OUT.xml"""
import sys

import openvino as ov

ov.save_model(ov.Core().read_model(sys.argv[1]), sys.argv[2], compress_to_fp16=False)
