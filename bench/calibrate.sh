#!/usr/bin/env bash
# Calibration as a whole process: the whole `optimize apply` against onnxruntime.quantization's calibrators, on the digit
# model and on PP-OCR's detector, all floating-point tensors, the same samples and bins, in one interleaved run. Our
# side runs twice in each round (again): the difference between the two is noise. At the end our peak memory on 16 and on 1,024
# samples. Fails when we are slower or take more memory; what is aimed at is half of the peer's time for min-max and a
# fifth for the other two.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-3}

bench/setup.sh
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/calibrate
mkdir -p "$work" bin
go build -o bin/optimize .
go build -o bin/measure ./bench/measure
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set

[[ -f $work/det.npz ]] || "$python" bench/calibrate/make.py recipes/digits/mnist-train.npz "$work"
if [[ ! -f $work/det.onnx ]]; then
  for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
    if $pip download --quiet --no-deps --dest "$work" rapidocr-onnxruntime==1.4.4 2>/dev/null; then break; fi
  done
  unzip -qo "$work"/rapidocr_onnxruntime-*.whl 'rapidocr_onnxruntime/models/*' -d "$work"
  cp "$work"/rapidocr_onnxruntime/models/*_det_*.onnx "$work/det.onnx"
fi
# The recipe's input block is called x.
"$python" - "$work" recipes/digits/digits.onnx <<'PY'
import sys, onnx
work, digits = sys.argv[1:]
for source, name in ((digits, "digits"), (work + "/det.onnx", "det")):
    m = onnx.load(source)
    name_in = m.graph.input[0].name
    for n in m.graph.node:
        n.input[:] = ["x" if i == name_in else i for i in n.input]
    m.graph.input[0].name = "x"
    onnx.save(m, f"{work}/{name}-x.onnx")
PY

ours() { # NAME MODEL METHOD BINS SAMPLES
  local bins=(); [[ $4 = 0 ]] || bins=(--var "bins=$4")
  echo :: "$1" OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color bench/calibrate/recipe.hcl --var "model=$work/$2-x.onnx" \
    --var "data=$work/$2.npz" --var "method=$3" --var "samples=$5" "${bins[@]}"
}

status=0
for model in digits det; do
  for method in minmax:0 percentile:2048 entropy:128; do
    samples=16; [[ $model = det ]] || samples=1024
    echo
    echo "== $model, $samples samples, ${method%:*}"
    # shellcheck disable=SC2046 # words on purpose: paths of this repository with spaces are not supported here
    bin/measure -runs "$runs" -warmup 1 -memory 1 -against peer -gate \
      $(ours ours "$model" "${method%:*}" "${method#*:}" "$samples") \
      $(ours again "$model" "${method%:*}" "${method#*:}" "$samples") \
      :: peer "$python" bench/calibrate/peer.py "$work/$model-x.onnx" "$work/$model.npz" x "$samples" "${method%:*}" "${method#*:}" || status=1
  done
done
for method in minmax:0 percentile:2048 entropy:2048; do
  echo
  echo "== digits, peak memory on 16 and on 1,024 samples, ${method%:*}"
  # shellcheck disable=SC2046
  bin/measure -runs 1 -warmup 0 -memory 3 -against few \
    $(ours few digits "${method%:*}" "${method#*:}" 16) $(ours many digits "${method%:*}" "${method#*:}" 1024) || status=1
done
exit "$status"
