"""Gives a model's inputs fixed shapes, which the peers ask for: those of its kind where its name tells, else one sample, 16
places of a text, pictures of 224 by 224.

usage: fix.py MODEL.onnx OUT.onnx"""
import sys

import onnx

PICTURES = {"rec_infer": (48, 320), "det_infer": (320, 320), "cls_infer": (48, 192), "nudenet": (320, 320), "shufflenet": (224, 224)}

model = onnx.load(sys.argv[1])
constants = {t.name for t in model.graph.initializer}
size = next((s for k, s in PICTURES.items() if k in sys.argv[1]), (224, 224))
for v in model.graph.input:
    if v.name in constants:
        continue
    dims = v.type.tensor_type.shape.dim
    for i, d in enumerate(dims):
        if d.HasField("dim_value") and d.dim_value > 0:
            continue
        if i == 0 and "silero" not in sys.argv[1]:
            d.dim_value = 1
        elif "silero" in sys.argv[1]:
            d.dim_value = 1 if i == 0 or len(dims) == 3 else 512
        elif len(dims) == 4:
            d.dim_value = 3 if i == 1 else size[i - 2]
        elif len(dims) == 2:
            d.dim_value = 2048 if "magika" in sys.argv[1] else 16
        else:
            d.dim_value = 16
for v in model.graph.output:
    for i, d in enumerate(v.type.tensor_type.shape.dim):
        d.dim_param = f"{v.name}_{i}"
onnx.save(model, sys.argv[2])
