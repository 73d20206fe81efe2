#!/usr/bin/env bash
# Clustered weights: quantize_cluster against coremltools' k-means palettization, on the digit net and on PP-OCR's recogniser,
# 2 to 8 bits, one table for a weight and one for each 16 output channels, float32 and float16 weights. The
# same bits, so what is
# compared is the squared error of the weights; and the sizes. Nothing is timed.
# It takes half an hour; MODELS, KINDS, GROUPS_OF and BITS make it do a part.
set -euo pipefail
cd "$(dirname "$0")/.."

bench/setup.sh weights
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/cluster
mkdir -p "$work" bin
go build -o bin/optimize .
export OPTIMIZE_CACHE=$work/cache
if [[ ! -f $work/raw-rec.onnx ]]; then
  for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
    if $pip download --quiet --no-deps --dest "$work" rapidocr-onnxruntime==1.4.4 2>/dev/null; then break; fi
  done
  unzip -qojp "$work"/rapidocr_onnxruntime-*.whl '*_rec_*.onnx' >"$work/raw-rec.onnx"
fi
cp recipes/digits/digits.onnx "$work/raw-digits.onnx"

status=0
for model in ${MODELS:-digits rec}; do
  bin/optimize apply --no-color bench/cluster/simplify.hcl --var "model=$work/raw-$model.onnx" --var "out=$work/$model.onnx" >/dev/null
  bin/optimize apply --no-color bench/float16/recipe.hcl --var "model=$work/$model.onnx" --var "out=$work/$model-half.onnx" --var dtype=float16 >/dev/null
  for kind in ${KINDS:-float32 float16}; do
    for group in ${GROUPS_OF:-0 16}; do
      for bits in ${BITS:-2 3 4 5 6 7 8}; do
        printf '%-6s %s, %d bits, %s: ' "$model" "$kind" "$bits" "$([[ $group = 0 ]] && echo 'a table a weight  ' || echo "groups of $group")"
        rm -f "$work/out.onnx"
        original=$work/$model.onnx
        [[ $kind = float32 ]] || original=$work/$model-half.onnx
        if ! bin/optimize apply --no-color bench/cluster/recipe.hcl --var "model=$original" --var "out=$work/out.onnx" --var "bits=$bits" --var "group_size=$group" >"$work/log" 2>&1; then
          grep -m3 . "$work/log" | tail -2 || true
          continue
        fi
        "$python" bench/cluster/compare.py "$original" "$work/out.onnx" "$bits" || status=1
      done
    done
  done
done
exit "$status"
