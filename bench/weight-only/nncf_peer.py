"""Another peer: NNCF makes 4-bit weights of a model.

usage: nncf_peer.py MODEL.onnx TOKENS.npz OUT BLOCK_SIZE ALGORITHM

ALGORITHM is rtn, or what NNCF calls gptq, awq and se (scale estimation), joined by +. OUT ends in .onnx, or in .xml for OpenVINO's IR,
which is the only form of which NNCF knows GPTQ. All products get integers with zero points, tables none.
"""
import sys

import numpy as np

import nncf

model, tokens, out, block, algorithm = sys.argv[1:]
data = dict(np.load(tokens))
batches = [{k: v[i : i + 8] for k, v in data.items()} for i in range(0, len(data["input_ids"]), 8)]
options = {}
if algorithm != "rtn":
    names = {"awq": "awq", "gptq": "gptq", "se": "scale_estimation"}
    options = {names[a]: True for a in algorithm.split("+")} | {"dataset": nncf.Dataset(batches), "subset_size": len(batches)}
options |= {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": int(block), "ratio": 1.0, "all_layers": True,
            "ignored_scope": nncf.IgnoredScope(types=["Gather"], validate=False)}
if out.endswith(".onnx"):
    import onnx

    onnx.save(nncf.compress_weights(onnx.load(model), **options), out)
else:
    import openvino

    openvino.save_model(nncf.compress_weights(openvino.convert_model(model), **options), out, compress_to_fp16=False)
