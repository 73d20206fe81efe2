#!/usr/bin/env bash
# Real models, each quantized for OpenVINO by one recipe with nothing tuned by hand and written as IR, against NNCF's quantize on
# the same samples, saved as its users do, and against the model as it is: speed on OpenVINO's CPU device on one thread in alternating
# slices with the model against itself beside it, size of the IR, quality. Then digits and the largest one as whole
# processes, ours and the NNCF script in one interleaved run: wall time, and peak memory (PSS summed over the process tree). Fails where
# ours is slower, larger or worse than NNCF's. The models and their data are those of bench/quantize-search.sh, which fetches
# them: run that first. A quiet machine helps; names as arguments take some models only.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-5}

here=bench/openvino-int8 data=$PWD/bench/results/quantize-search work=$PWD/bench/results/openvino-int8
bench/setup.sh nncf
python=$PWD/bench/.venv/bin/python
mkdir -p "$work" bin
go build -o bin/optimize .
go build -o bin/measure ./bench/measure

all=(digits fashion orientation cls rec det minilm)
models=("$@")
[[ $# -gt 0 ]] || models=("${all[@]}")
status=0
for m in "${models[@]}"; do
  if [[ ! -f $data/$m.onnx || ! -f $data/$m-calibration.npz ]]; then echo "$m: not there; bench/quantize-search.sh $m brings it"; continue; fi
  rm -rf "$work/cache" "$work/$m-ours"
  OPTIMIZE_CACHE=$work/cache bin/optimize apply --no-color $here/recipe.hcl --var "model=$data/$m.onnx" --var "data=$data/$m-calibration.npz" \
    --var "out=$work/$m-ours" >"$work/$m.log" 2>&1 || { cat "$work/$m.log"; status=1; continue; }
  "$python" $here/peer.py "$data/$m.onnx" "$data/$m-calibration.npz" "$work/$m-nncf.xml" >"$work/$m-nncf.log" 2>&1 ||
    { echo "$m: the peer fails: $(tail -1 "$work/$m-nncf.log")"; continue; }
  "$python" $here/compare.py "$m" "$data/$m.onnx" "$data/$m-test.npz" "ours=$work/$m-ours/model.xml" "nncf=$work/$m-nncf.xml" || status=1
done

if [[ $(uname) == Linux ]]; then memory=(-memory "$runs"); else memory=(); fi
for m in digits minilm; do
  [[ " ${models[*]} " == *" $m "* && -f $data/$m.onnx ]] || continue
  echo
  echo "$m as whole processes"
  # A fresh store each time: nothing of a former run may be found.
  bin/measure -runs "$runs" -warmup 1 "${memory[@]}" -against nncf -gate \
    :: optimize OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color $here/recipe.hcl --var "model=$data/$m.onnx" --var "data=$data/$m-calibration.npz" --var "out={dir}/out" \
    :: nncf "$python" $here/peer.py "$data/$m.onnx" "$data/$m-calibration.npz" {dir}/out.xml || status=1
done
exit "$status"
