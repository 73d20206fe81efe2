#!/usr/bin/env bash
# Static quantization of the digit model as a whole process, ours and onnxruntime.quantization's in one interleaved run:
# wall time, peak memory (PSS summed over the process tree), then what the two results are worth.
# Fails when we are slower, take more memory or lose more than 0.003 of top-1.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-21}

bench/setup.sh
mkdir -p bench/results bin
go build -o bin/measure ./bench/measure
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set

digits=recipes/digits
status=0
if [[ $(uname) == Linux ]]; then memory=(-memory "$runs"); else memory=(); fi
# A fresh store each time: nothing of a former run may be found.
bin/measure -runs "$runs" "${memory[@]}" -against peer -gate \
  :: optimize OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color bench/quantize-static/recipe.hcl \
  :: peer bench/.venv/bin/python bench/quantize-static/peer.py "$digits/digits.onnx" "$digits/mnist-train.npz" bench/results/peer-int8.onnx ||
  status=1

echo
bench/.venv/bin/python bench/quantize-static/compare.py "$digits/digits.onnx" "$digits/mnist-test.npz" \
  optimize=bench/quantize-static/dist/digits-int8.onnx peer=bench/results/peer-int8.onnx || status=1
exit "$status"
