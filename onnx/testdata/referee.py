"""Compares this package with the onnx package, for TestReferee.

referee.py models DIR          writes the onnx package's own test models to DIR
referee.py shapes LIST         prints what onnx infers: one JSON object per file
referee.py same LIST           LIST has pairs: prints the pairs that differ
referee.py check LIST          prints the files that onnx.checker refuses
referee.py cases DIR           writes the node tests with their inputs and outputs to DIR
referee.py dtypes IGNORED      prints the values of all codes of the small element types
referee.py convert LIST        LIST has pairs: converts the first to opset 21, as the second, with onnx.version_converter
referee.py slim LIST           LIST has pairs: simplifies the first to the second with onnxslim
referee.py sim LIST            the same with onnxsim
referee.py run LIST            LIST has pairs: prints pairs whose outputs differ
LIST is a file with one path, or two separated by a tab, per line.
"""
import json
import os
import shutil
import sys

import numpy as np
import onnx
import onnx.shape_inference
import onnxruntime


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [line.rstrip("\n").split("\t") for line in f]


def models(out):
    data = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    count = 0
    for folder, _, files in sorted(os.walk(data)):
        for name in sorted(files):
            if name.endswith(".onnx"):
                shutil.copy(os.path.join(folder, name), os.path.join(out, f"{count:05d}-{os.path.basename(folder)}-{name}"))
                count += 1
    from onnx.backend.test.case import node

    for case in node.collect_testcases(None):
        if case.model is not None:
            with open(os.path.join(out, f"{count:05d}-{case.name}.onnx"), "wb") as f:
                f.write(case.model.SerializeToString())
            count += 1
    print(count)


def cases(out):
    """A folder for each case whose inputs and outputs are all tensors."""
    from onnx import numpy_helper
    from onnx.backend.test.case import node

    for case in node.collect_testcases(None):
        if case.model is None or not case.data_sets or len(case.model.graph.node) != 1:
            continue
        inputs, outputs = case.data_sets[0]
        if not all(isinstance(v, np.ndarray) for v in [*inputs, *outputs]):
            continue
        folder = os.path.join(out, case.name)
        os.makedirs(folder)
        with open(os.path.join(folder, "model.onnx"), "wb") as f:
            f.write(case.model.SerializeToString())
        for kind, infos, values in (("input", case.model.graph.input, inputs), ("output", case.model.graph.output, outputs)):
            for info, value in zip(infos, values, strict=True):
                try:
                    t = numpy_helper.from_array(value, info.name)
                except Exception:
                    shutil.rmtree(folder)
                    break
                with open(os.path.join(folder, f"{kind}-{info.name}.pb"), "wb") as f:
                    f.write(t.SerializeToString())
            else:
                continue
            break


def dtypes(_):
    from onnx import numpy_helper

    out = {}
    for name in ("UINT4", "INT4", "UINT2", "INT2", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "FLOAT8E8M0"):
        elem = getattr(onnx.TensorProto, name)
        per = {"4": 2, "2": 4}.get(name[-1] if name[-2:] in ("T4", "T2") else "", 1)
        per = 2 if name == "FLOAT4E2M1" else per
        t = onnx.TensorProto(data_type=elem, dims=[256 * per], raw_data=bytes(range(256)))
        values = numpy_helper.to_array(t).astype(np.float32)
        out[str(elem)] = ["nan" if np.isnan(v) else "inf" if v == np.inf else "-inf" if v == -np.inf else float(v) for v in values]
    print(json.dumps(out))


def shapes(paths):
    for (path,) in paths:
        m = onnx.load(path)
        try:
            # Without the types that the model declares, so that inference is compared.
            del m.graph.value_info[:]
            for o in m.graph.output:
                if o.type.HasField("tensor_type"):
                    o.type.Clear()
            m = onnx.shape_inference.infer_shapes(m, data_prop=True)
        except Exception as e:  # what onnx cannot infer is not compared
            print(json.dumps({"path": path, "error": str(e)[:200]}))
            continue
        values = {}
        for v in list(m.graph.value_info) + list(m.graph.output):
            if not v.type.HasField("tensor_type"):
                continue
            t = v.type.tensor_type
            dims = None
            if t.HasField("shape"):
                dims = [d.dim_value if d.HasField("dim_value") else (d.dim_param or -1) for d in t.shape.dim]
            values[v.name] = {"elem": t.elem_type, "dims": dims}
        print(json.dumps({"path": path, "values": values}))


def plain(m):
    """Takes out scalar fields that are there and hold their default anyway."""
    for field, value in m.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                plain(part)
        elif not isinstance(value, (int, float, str, bytes)) or field.containing_oneof:
            pass
        elif value == field.default_value:
            m.ClearField(field.name)
    return m


def same(pairs):
    for a, b in pairs:
        if plain(onnx.load(a, load_external_data=False)) != plain(onnx.load(b)):
            print(f"{a} differs from {b}")


def check(paths):
    for (path,) in paths:
        try:
            onnx.checker.check_model(path)
        except Exception as e:
            print(f"{path}: {e}"[:400])


def convert(pairs):
    import onnx.version_converter

    for a, b in pairs:
        try:
            onnx.save(onnx.version_converter.convert_version(onnx.load(a), 21), b)
        except Exception as e:
            print(f"{a}: {e}"[:300].replace("\n", " "))


def slim(pairs):
    import onnxslim

    for a, b in pairs:
        try:
            onnxslim.slim(a, b)
        except Exception as e:
            print(f"{a}: {e}"[:300].replace("\n", " "))


def sim(pairs):
    import onnxsim

    for a, b in pairs:
        try:
            onnx.save(onnxsim.simplify(onnx.load(a))[0], b)
        except Exception as e:
            print(f"{a}: {e}"[:300].replace("\n", " "))


def feeds(m, size):
    """Random inputs; an axis without a size gets this one, and from 64 on the first axis is 1."""
    rng = np.random.default_rng(1)
    known = {t.name for t in m.graph.initializer}
    out = {}
    for v in m.graph.input:
        if v.name in known:
            continue
        t = v.type.tensor_type
        if not v.type.HasField("tensor_type"):
            return {}
        first = 2 if size == 2 else 1
        dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else size if i else first for i, d in enumerate(t.shape.dim)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type)
        out[v.name] = np.asarray(rng.random(dims) * 2 - 0.5).astype(dtype)
        if v.name == "sr":  # a rate, which models of speech compare with those they know
            out[v.name][...] = 16000
    return out


def session(path):
    o = onnxruntime.SessionOptions()
    o.log_severity_level = 4
    o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def run(pairs):
    for a, b in pairs:
        for size in (2, 64, 512):
            try:
                x = feeds(onnx.load(a), size)
                want = session(a).run(None, x)
                break
            except Exception as e:
                problem = e
        else:
            print(f"{a}: skipped: the original does not run: {problem}"[:300].replace("\n", " "))
            continue
        try:
            got = session(b).run(None, x)
        except Exception as e:
            # A runtime need not have every version of every operator.
            skipped = "skipped: " if "NOT_IMPLEMENTED" in str(e) else ""
            print(f"{b}: {skipped}{e}"[:400].replace("\n", " "))
            continue
        for w, g in zip(want, got, strict=True):
            if not isinstance(w, np.ndarray) or w.dtype == object:
                continue
            # Halves are rounded between nodes, and which nodes there are has changed.
            tolerance = 1e-4 if w.dtype.itemsize > 2 or w.dtype.kind != "f" else 1e-2
            if w.shape != g.shape or w.dtype != g.dtype or not np.allclose(w, g, rtol=tolerance, atol=tolerance, equal_nan=True):
                print(f"{b}: outputs differ: {w.dtype}{w.shape}, {g.dtype}{g.shape}")


if __name__ == "__main__":
    command, arg = sys.argv[1:]
    if command in ("models", "cases", "dtypes"):
        {"models": models, "cases": cases, "dtypes": dtypes}[command](arg)
    else:
        {"shapes": shapes, "same": same, "check": check, "run": run, "slim": slim, "sim": sim, "convert": convert}[command](lines(arg))
