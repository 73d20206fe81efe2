#!/usr/bin/env bash
# A model of 90 MB as OpenVINO's IR. The step alone against the bare calls of OpenVINO's library in one process, in turns:
# read_model and save_model, which the step is held against, and those with the passes that the step runs by default between them. Then
# whole processes: ours, read_model and save_model alone, the same by Python's openvino, and ovc. Fails when the step takes more than
# 1.1 times read and save, or the whole command is slower or takes more memory than ovc.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-9}

bench/setup.sh openvino
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/openvino
mkdir -p "$work" bin
go build -o bin/optimize .
go build -o bin/measure ./bench/measure
go build -o bin/openvinotool ./bench/openvinotool
model=$work/large.onnx
[[ -f $model ]] || "$python" -c "import sys; sys.path.insert(0, 'bench/onnx'); import models; models.large('$model')"

status=0
echo "== the step against the same calls of OpenVINO's, in turns in one process; again: the bare calls against themselves"
go test -run '^$' -bench '^BenchmarkExport$' -benchtime "${runs}x" ./plugins/openvino | tee "$work/step.txt" || status=1
awk '/^BenchmarkExport/ { for (i = 1; i < NF; i++) if (($(i + 1) == "plain/bare" || $(i + 1) == "step/bare") && $i > 1.1) { print "the step takes over 1.1 times read and save"; exit 1 } }' "$work/step.txt" || status=1

echo
echo "== whole processes"
if [[ $(uname) == Linux ]]; then memory=(-memory 3); else memory=(); fi
ours=(OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color bench/openvino/recipe.hcl --var "model=$model" --var "out={dir}/ir")
bin/measure -runs "$runs" -warmup 1 "${memory[@]}" \
  :: ours "${ours[@]}" :: again "${ours[@]}" \
  :: bare bin/openvinotool "$model" "{dir}/out.xml" \
  :: python "$python" bench/openvino/peer.py "$model" "{dir}/out.xml" || status=1
bin/measure -runs "$runs" -warmup 1 "${memory[@]}" -against ovc -gate \
  :: ours "${ours[@]}" \
  :: ovc bench/.venv/bin/ovc "$model" --output_model "{dir}/out.xml" --compress_to_fp16=False || status=1
exit "$status"
