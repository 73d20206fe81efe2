"""What the peers make of a model with the same data.

usage: peer.py FORM MODEL CALIBRATION.npz OUTPUT

default: quantize_static of onnxruntime.quantization with no options, what a user gets who asks for nothing
tuned:   what an expert asks of it on x86: opset raised, shapes inferred and the graph optimised first, U8 activations, S8 weights per channel,
         weights of 7 bits where the processor lacks VNNI
dynamic: its quantize_dynamic, per channel
nncf:    quantize of NNCF with its defaults
"""

import os
import sys
import tempfile

import numpy as np
import onnx

SAMPLES = 64


def samples(model, path):
    """Batches of one, as the model takes them; a field whose axes are the input's own has no axis for samples."""
    data = np.load(path)
    takes = {i.name: len(i.type.tensor_type.shape.dim) for i in onnx.load(model).graph.input}
    count = min(SAMPLES, len(data[data.files[0]]))
    return [{k: np.asarray(data[k][i]) if data[k].ndim - 1 == takes[k] else data[k][i : i + 1] for k in data.files if k in takes} for i in range(count)]


def raised(model, folder):
    """The model at opset 17, if it is older and the converter can do it."""
    m = onnx.load(model)
    if max(o.version for o in m.opset_import if o.domain in ("", "ai.onnx")) >= 13:
        return model
    out = os.path.join(folder, "raised.onnx")
    onnx.save(onnx.version_converter.convert_version(m, 17), out)
    return out


def static(form, model, data, output):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(samples(model, data))

        def get_next(self):
            return next(self.left, None)

    if form == "default":
        quantize_static(model, output, Reader())
        return
    with tempfile.TemporaryDirectory() as folder:
        ready = os.path.join(folder, "ready.onnx")
        source = raised(model, folder)
        try:
            quant_pre_process(source, ready)
        except Exception:  # symbolic shape inference does not know every model
            quant_pre_process(source, ready, skip_symbolic_shape=True)
        flags = open("/proc/cpuinfo").read() if os.path.exists("/proc/cpuinfo") else ""
        quantize_static(ready, output, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, reduce_range="vnni" not in flags)


def main():
    form, model, data, output = sys.argv[1:5]
    if form == "dynamic":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(model, output, per_channel=True, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True})
    elif form == "nncf":
        import nncf

        onnx.save(nncf.quantize(onnx.load(model), nncf.Dataset(samples(model, data)), subset_size=SAMPLES), output)
    else:
        static(form, model, data, output)


main()
