#!/usr/bin/env bash
# Reading, writing and simplifying ONNX models as whole processes: package onnx (bench/onnxtool) against the Python packages
# onnx, onnxslim and onnxsim, in one interleaved run. Fails when we are slower, or what we simplified is larger than a peer's
# or computes something else.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-7}

bench/setup.sh
python=$PWD/bench/.venv/bin/python
work=bench/results/onnx
mkdir -p "$work" bin
go build -o bin/measure ./bench/measure
go build -o bin/onnxtool ./bench/onnxtool

if [[ ! -f $work/quarter.onnx ]]; then "$python" bench/onnx/models.py "$work"; fi
# PP-OCR's detector and recogniser lie in a package that is used for its files only.
if [[ ! -f $work/rec.onnx ]]; then
  for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
    if $pip download --quiet --no-deps --dest "$work" rapidocr-onnxruntime==1.4.4 2>/dev/null; then break; fi
  done
  unzip -qo "$work"/rapidocr_onnxruntime-*.whl 'rapidocr_onnxruntime/models/*' -d "$work"
  cp "$work"/rapidocr_onnxruntime/models/*_det_*.onnx "$work/det.onnx"
  cp "$work"/rapidocr_onnxruntime/models/*_rec_*.onnx "$work/rec.onnx"
fi

status=0
if [[ $(uname) == Linux ]]; then memory=(-memory "$runs"); else memory=(); fi

echo "== read and write a model of 90 MB: without waiting for the disk, as the Python package does it"
bin/measure -runs "$runs" "${memory[@]}" -against python -gate \
  :: ours bin/onnxtool copy "$work/large.onnx" "{dir}/out.onnx" \
  :: python "$python" bench/onnx/roundtrip.py "$work/large.onnx" "{dir}/out.onnx" || status=1
# What it costs to have the file on the disk, on either side; and what the system's own copy takes.
bin/measure -runs "$runs" \
  :: ours-synced bin/onnxtool sync "$work/large.onnx" "{dir}/out.onnx" \
  :: python-synced "$python" bench/onnx/roundtrip.py "$work/large.onnx" "{dir}/out.onnx" sync \
  :: cp cp "$work/large.onnx" "{dir}/out.onnx" || status=1

for model in det rec; do
  echo
  echo "== simplify PP-OCR $model"
  bin/measure -runs "$runs" -against onnxslim -gate \
    :: ours bin/onnxtool simplify "$work/$model.onnx" "$work/$model-ours.onnx" \
    :: onnxslim bench/.venv/bin/onnxslim "$work/$model.onnx" "$work/$model-slim.onnx" || status=1
  # Apart, since the gate is on whatever is compared with onnxslim.
  bin/measure -runs 3 -warmup 1 :: onnxsim bench/.venv/bin/onnxsim "$work/$model.onnx" "$work/$model-sim.onnx" || status=1
  "$python" bench/onnx/compare.py "$work/$model.onnx" ours="$work/$model-ours.onnx" \
    onnxslim="$work/$model-slim.onnx" onnxsim="$work/$model-sim.onnx" || status=1
done

echo
echo "== simplify a graph of 20,000 nodes"
bin/measure -runs "$runs" -warmup 1 \
  :: ours bin/onnxtool simplify "$work/long.onnx" "{dir}/out.onnx" \
  :: python "$python" bench/onnx/roundtrip.py "$work/long.onnx" "{dir}/out.onnx" || status=1

echo
echo "== passes on 5,000 and 20,000 nodes: what is linear takes four times as long"
bin/onnxtool growth "$work/quarter.onnx" "$work/long.onnx" || status=1
exit "$status"
