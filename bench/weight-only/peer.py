"""The peer: onnxruntime.quantization makes 4-bit weights of a model.

usage: peer.py MODEL.onnx TOKENS.npz OUT.onnx ALGORITHM BLOCK_SIZE SYMMETRIC

ALGORITHM is rtn, gptq, nf4 or fp4. GPTQ gets the same samples as we, eight at a time, and its own defaults for the rest.
"""
import sys

import numpy as np
import onnx
from onnxruntime.quantization import matmul_bnb4_quantizer as bnb4
from onnxruntime.quantization import matmul_nbits_quantizer as nbits
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.neural_compressor import util

util.to_numpy = np.asarray  # it imports PyTorch to see whether an array is one of its own

model, tokens, out, algorithm, block, symmetric = sys.argv[1:]
block, symmetric = int(block), symmetric == "true"


class Tokens(CalibrationDataReader):
    def __init__(self):
        data = dict(np.load(tokens))
        self.batches = iter([{k: v[i : i + 8] for k, v in data.items()} for i in range(0, len(data["input_ids"]), 8)])

    def get_next(self):
        return next(self.batches, None)


m = onnx.load(model)
if algorithm in ("nf4", "fp4"):
    q = bnb4.MatMulBnb4Quantizer(m, quant_type={"fp4": 0, "nf4": 1}[algorithm], block_size=block)
else:
    config = nbits.DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, op_types_to_quantize=("MatMul", "Gather"))
    if algorithm == "gptq":
        config = nbits.GPTQWeightOnlyQuantConfig(calibration_data_reader=Tokens(), block_size=block)
    q = nbits.MatMulNBitsQuantizer(m, block_size=block, is_symmetric=symmetric, algo_config=config)
q.process()
onnx.save(getattr(q.model, "model", q.model), out)
