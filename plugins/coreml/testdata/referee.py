"""Loads Core ML packages with coremltools and runs them without a Mac, against what ONNX Runtime computed.

usage: referee.py JOBS.json; a list of {"name", "package", "inputs", "want", "floor"}; without "want" a package is read and
not run. The inputs and what is wanted are
safetensors files; their tensors are named 0, 1, ... and go to the program's inputs and outputs by that order. A line of JSON
is printed for each job: {"name", "away", "ops"} or {"name", "error"}. "away" is the largest distance over the largest
magnitude of the output, which counts as the floor (1e-3 without) where it is less.

A package is first read as coremltools reads it: Apple's own type inference of every operation, and the program's validation.
Then it is run: inputs become constants, and PyMIL's inference of values computes the rest. What PyMIL does not compute is in
referee_kernels.py, written from Apple's documentation of each operation.
"""
import json
import logging
import struct
import sys
import time
import warnings

import numpy as np

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

import coremltools as ct  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil._deployment_compatibility import AvailableTarget  # noqa: E402
from coremltools.converters.mil.frontend.milproto import load as milproto  # noqa: E402
from coremltools.converters.mil.mil import Function, types  # noqa: E402
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry  # noqa: E402
from coremltools import proto  # noqa: E402

from referee_kernels import KERNELS  # noqa: E402

KINDS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
         "I8": np.int8, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_}


def tensors(path):
    """The tensors of a safetensors file, in the order of their numbers."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    out = []
    for name in sorted(head, key=int):
        t = head[name]
        low, high = t["data_offsets"]
        out.append(np.frombuffer(data[8 + n + low:8 + n + high], KINDS[t["dtype"]]).reshape(t["shape"]))
    return out


def inputs_known(op):
    for value in op.inputs.values():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None and hasattr(one, "val") and one.val is None:
                return False
    return True


def install():
    """Gives every version of an operation its kernel."""
    for name, versions in SSAOpRegistry.core_ops.items():
        kernel = KERNELS.get(name)
        if name.startswith("constexpr_") or name == "dequantize":
            kernel = lambda op: op.materialized_val_inference()  # noqa: E731 - Apple's own decompression
        if kernel is None:
            continue
        for cls in set(versions.values()):
            def infer(self, kernel=kernel):
                if not inputs_known(self):
                    return None
                kind = self.type_inference()
                kinds = kind if isinstance(kind, tuple) else (kind,)
                self.out_shapes = [tuple(k.get_shape()) if types.is_tensor(k) else () for k in kinds]
                out = kernel(self)
                outs = out if isinstance(out, tuple) else (out,)
                fitted = []
                for k, o in zip(kinds, outs):
                    base = k.get_primitive() if types.is_tensor(k) else k
                    o = np.asarray(o, dtype=types.nptype_from_builtin(base))
                    fitted.append(o if types.is_tensor(k) else o.reshape(())[()])
                return tuple(fitted) if len(fitted) > 1 else fitted[0]
            cls.value_inference = infer


def feed(context, name, value, states):
    """A constant in place of an input."""
    context.register_var_with_name(name, mb.const(val=value))
    states.setdefault(name, name)


def run_block(context, block, states):
    for op in block.operations:
        if op.type == "read_state":
            source = op.inputs["input"].arguments[0].name
            context.register_var_with_name(op.outputs[0].name, context.get_var_from_name(states[source]))
        elif op.type == "write_state":
            states[op.inputs["input"].arguments[0].name] = op.inputs["data"].arguments[0].name
        elif op.type == "cond":
            chosen = op.blocks[0 if bool(context.get_var_from_name(op.inputs["pred"].arguments[0].name).val) else 1]
            run_block(context, chosen, states)
            for out, name in zip(op.outputs, chosen.outputs):
                context.register_var_with_name(out.name, context.get_var_from_name(name))
        elif op.type == "while_loop":
            carried = [context.get_var_from_name(a.name) for a in op.inputs["loop_vars"].arguments]
            test, body = op.blocks
            while True:
                for which in (test, body):
                    for given, var in zip(which.inputs, carried):
                        context.register_var_with_name(given.name, mb.const(val=var.val))
                    run_block(context, which, states)
                    if which is test and not bool(context.get_var_from_name(test.outputs[0]).val):
                        break
                else:
                    carried = [context.get_var_from_name(n) for n in body.outputs]
                    continue
                break
            for out, var in zip(op.outputs, carried):
                context.register_var_with_name(out.name, var)
        else:
            milproto._load_operation(context, op)
            for out in op.outputs:
                if getattr(context.get_var_from_name(out.name), "val", None) is None:
                    raise ValueError(f"{op.type} {out.name} was not computed")


def number(spec_type):
    return types.nptype_from_builtin(milproto.proto_to_types(spec_type).get_primitive())


def read(package):
    model = ct.models.MLModel(package, skip_model_load=True)
    spec = model.get_spec()
    if spec.WhichOneof("Type") == "pipeline":
        spec = spec.pipeline.models[0]
    program = milproto.load(spec, spec.specificationVersion, model.weights_dir)
    program.validate()
    return model, spec


def run(package, inputs):
    model, spec = read(package)
    main = spec.mlProgram.functions["main"]
    context = milproto.TranscriptionContext(model.weights_dir)
    with Function({}, opset_version=AvailableTarget(spec.specificationVersion)):
        states, given = {}, iter(inputs)
        for item in main.inputs:
            if item.type.WhichOneof("type") == "stateType":
                inner = milproto.proto_to_types(item.type).wrapped_type()
                value = np.zeros(inner.get_shape(), types.nptype_from_builtin(inner.get_primitive()))
            else:
                kind = milproto.proto_to_types(item.type)
                value = np.asarray(next(given)).astype(number(item.type))
                if value.shape == () and len(kind.get_shape()) == 1:
                    value = value.reshape(1)
            feed(context, item.name, value, states)
        block = main.block_specializations[main.opset]
        run_block(context, block, states)
        outs = [np.asarray(context.get_var_from_name(n).val) for n in block.outputs]
    return outs, len([o for o in block.operations if o.type != "const"])


def distance(got, want, floor):
    if got.shape != want.shape and got.shape != (want.shape or (1,)):
        return float("inf"), f"shape {got.shape}, want {want.shape}"
    got = got.reshape(want.shape).astype(np.float64)
    want = want.astype(np.float64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    if not np.isfinite(got[~same]).all() or not np.isfinite(want[~same]).all():
        return float("inf"), "infinities or NaNs at other places"
    most = max(float(np.abs(want[np.isfinite(want)]).max(initial=0)), floor)
    return float(np.abs(np.where(same, 0, got - want)).max(initial=0)) / most, ""


def main():
    install()
    with open(sys.argv[1]) as f:
        jobs = json.load(f)
    for job in jobs:
        line, start = {"name": job["name"]}, time.time()
        try:
            if not job["want"]:
                _, spec = read(job["package"])
                main = spec.mlProgram.functions["main"]
                line["away"], line["ops"] = 0.0, len(main.block_specializations[main.opset].operations)
                print(json.dumps(line), flush=True)
                continue
            want = tensors(job["want"])
            outs, line["ops"] = run(job["package"], tensors(job["inputs"]))
            if len(outs) != len(want):
                raise ValueError(f"{len(outs)} outputs, want {len(want)}")
            line["away"] = 0.0
            for i, (g, w) in enumerate(zip(outs, want)):
                away, why = distance(g, w, job.get("floor", 1e-3))
                if why:
                    raise ValueError(f"output {i}: {why}")
                line["away"] = max(line["away"], away)
        except Exception as e:
            line["error"] = f"{type(e).__name__}: {e}"[:600]
        line["seconds"] = round(time.time() - start, 2)
        print(json.dumps(line), flush=True)


main()
