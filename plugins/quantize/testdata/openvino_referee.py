"""Runs IRs with Python's own openvino, as a referee of ours.

usage: openvino_referee.py DATA IR.xml ...

DATA is raw F32 of one batch for the first input, whose shape stands in DATA.shape. For each IR the first output goes to
IR.xml.out as raw F32, and a line says how many layers that multiply with weights run in 8 bits, and how many there are.
"""
import sys

import numpy as np
import openvino as ov

core = ov.Core()
shape = [int(d) for d in open(sys.argv[1] + ".shape").read().split()]
x = np.fromfile(sys.argv[1], np.float32).reshape(shape)
for path in sys.argv[2:]:
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    y = compiled([x])[compiled.output(0)]
    y.astype(np.float32).tofile(path + ".out")
    small = total = 0
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = {k: str(getattr(v, "value", v)) for k, v in op.get_rt_info().items()}
        if info["layerType"] in ("Convolution", "FullyConnected", "Deconvolution"):
            total += 1
            small += info["runtimePrecision"].lower() in ("i8", "u8")
    print(small, total)
