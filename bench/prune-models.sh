#!/usr/bin/env bash
# Real models with three tenths of their multiply-accumulates taken out, with and without repair: speed at batch 1 on one thread in
# alternating slices, with the model against itself beside it, and the outputs on samples that neither the choice nor the repair has
# seen. No peer prunes channels of an ONNX file; bench/prune.sh has one that needs the PyTorch program. Fails where a result is less
# than 1.25 times as fast, or the repair wins nothing back. The models and their data are those of bench/quantize-search.sh, which
# fetches them: run that first. A quiet machine helps; names as arguments take some models only.
set -euo pipefail
cd "$(dirname "$0")/.."

data=$PWD/bench/results/quantize-search work=$PWD/bench/results/prune-models
bench/setup.sh
mkdir -p "$work" bin
go build -o bin/optimize .

all=(orientation cls rec magika minilm)
models=("$@")
[[ $# -gt 0 ]] || models=("${all[@]}")
status=0
for m in "${models[@]}"; do
  if [[ ! -f $data/$m.onnx || ! -f $data/$m-calibration.npz ]]; then echo "$m: not there; bench/quantize-search.sh $m brings it"; continue; fi
  rm -rf "$work/cache"
  # Outputs are compared with those of the original: no labels are needed.
  bench/.venv/bin/python -c 'import sys, numpy as np; x = dict(np.load(sys.argv[1])); x.pop("label", None); np.savez(sys.argv[2], **x)' \
    "$data/$m-test.npz" "$work/$m-test.npz"
  OPTIMIZE_CACHE=$work/cache bin/optimize apply --no-color bench/prune-models/recipe.hcl --var "model=$data/$m.onnx" \
    --var "data={calibration=\"$data/$m-calibration.npz\",test=\"$work/$m-test.npz\"}" >"$work/$m.log" 2>&1 || status=1
  echo "$m"
  grep -E '^ +size |^  (baseline|again|raw|repaired) +[0-9]|held |did not hold|Error|repair: ' "$work/$m.log" || cat "$work/$m.log"
done
exit "$status"
