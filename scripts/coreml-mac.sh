#!/usr/bin/env bash
# On a Mac: compiles a Core ML package with Apple's compiler, predicts with it, and compares with ONNX Runtime on the model that it was
# made of. Fails when an output is further away than TOLERANCE (0.01) of its largest magnitude.
#
# usage: coreml-mac.sh MODEL.onnx PACKAGE.mlpackage
# It wants Xcode's command line tools and a Python (PYTHON, else python3) with coremltools 9, numpy below 2.4 and onnxruntime. The
# package must have been written for the model as it is: fixed shapes, arrays as inputs, no states.
set -euo pipefail
[[ $# = 2 ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ $(uname) = Darwin ]] || { echo "This needs a Mac: Apple's compiler and runtime are nowhere else." >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
xcrun coremlcompiler compile "$2" "$out"
TOLERANCE=${TOLERANCE:-0.01} "${PYTHON:-python3}" - "$1" "$2" <<'P'
import os
import sys

import coremltools as ct
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rng = np.random.default_rng(1)
failed = False
for units in ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.ALL:
    model = ct.models.MLModel(sys.argv[2], compute_units=units)
    spec = model.get_spec().description
    feeds, given = {}, {}
    # Names that Core ML does not allow were changed; the order is the model's.
    for v, f in zip(session.get_inputs(), spec.input):
        shape = [int(d) for d in f.type.multiArrayType.shape]
        integer = "int" in v.type
        x = rng.integers(0, 10, shape) if integer else rng.uniform(-1, 1, shape)
        feeds[v.name] = x.reshape(shape if len(v.shape) else []).astype({"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float16)": np.float16}.get(v.type, np.float32))
        given[f.name] = x.astype(np.int32 if integer else np.float32)
    want = session.run(None, feeds)
    got = model.predict(given)
    for w, f in zip(want, spec.output):
        g = np.asarray(got[f.name], np.float64).reshape(w.shape)
        away = np.abs(g - w).max() / max(np.abs(w).max(), 1e-3)
        bad = not away <= float(os.environ["TOLERANCE"])
        failed = failed or bad
        print(f"{units.name:10} {f.name}: {away:.2g} away" + (", which is too far" if bad else ""))
sys.exit(failed)
P
