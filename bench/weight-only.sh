#!/usr/bin/env bash
# Weights of 4 bits as whole processes: the whole `optimize apply` on quantize_weights against onnxruntime.quantization, on
# an encoder with random weights, in one interleaved run. Our side runs twice in each round (again): the difference
# between the two is noise. Then what the results are worth, on other tokens than those of calibration. Fails when we
# are slower, take more memory or agree less with the original at equal bits.
#
# With NNCF=1 also the error of our GPTQ against that of what NNCF and onnxruntime.quantization make with data, at the same bits and blocks of
# the same weights: of two encoders with random weights, and of MiniLM where bench/quantize-search.sh has fetched it. Fails when one of
# theirs agrees more with the original.
#
# With LARGE=1 also GPTQ of an encoder with 100 million parameters by us alone: wall time and peak memory. The peer, which
# runs the model once for each input of a layer, takes about half an hour of a core for it.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-5}

if [[ ${NNCF:-} = 1 ]]; then bench/setup.sh weights nncf; else bench/setup.sh weights; fi
python=$PWD/bench/.venv/bin/python
work=$PWD/bench/results/weight-only
mkdir -p "$work" bin
go build -o bin/optimize .
go build -o bin/measure ./bench/measure
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set
[[ -f $work/small.onnx ]] || "$python" bench/weight-only/make.py "$work/small.onnx" "$work/small.npz" 4 256 4000 64 64
memory=(); [[ $(uname) != Linux ]] || memory=(-memory 1)

ours() { # NAME MODEL FORMAT ALGORITHM BLOCK SYMMETRIC
  local recipe=plain data=() embeddings=false
  [[ $3:$4 != int4:rtn && $2 != large ]] || embeddings=true
  [[ $4 != gptq ]] || { recipe=calibrated; data=(--var "data=$work/$2.npz"); }
  echo :: "$1" OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color "bench/weight-only/$recipe.hcl" "${data[@]}" \
    --var "model=$work/$2.onnx" --var "out=$work/ours.onnx" --var "format=$3" --var "algorithm=$4" --var "block_size=$5" --var "symmetric=$6" --var "embeddings=$embeddings"
}

status=0
for c in int4:rtn:32:false int4:rtn:128:true int4:gptq:32:false int4:gptq:128:true nf4:rtn:64:false fp4:rtn:64:false; do
  IFS=: read -r format algorithm block symmetric <<<"$c"
  theirs=$algorithm; [[ $format = int4 ]] || theirs=$format
  echo
  echo "== $format, $algorithm, blocks of $block, symmetric: $symmetric"
  # shellcheck disable=SC2046 # words on purpose: paths of this repository with spaces are not supported here
  bin/measure -runs "$runs" -warmup 1 "${memory[@]}" -against peer -gate \
    $(ours ours small "$format" "$algorithm" "$block" "$symmetric") $(ours again small "$format" "$algorithm" "$block" "$symmetric") \
    :: peer "$python" bench/weight-only/peer.py "$work/small.onnx" "$work/small.npz" "$work/peer.onnx" "$theirs" "$block" "$symmetric" || status=1
  "$python" bench/weight-only/compare.py "$work/small.onnx" "$work/small-test.npz" ours="$work/ours.onnx" peer="$work/peer.onnx" || status=1
done
for algorithm in hqq awq; do
  echo
  echo "== int4, $algorithm, blocks of 32: the peer's needs PyTorch or does not exist; its rtn is in the place of it"
  if [[ $algorithm = awq ]]; then recipe=calibrated; data=(--var "data=$work/small.npz"); else recipe=plain; data=(); fi
  bin/optimize apply --no-color "bench/weight-only/$recipe.hcl" "${data[@]}" --var "model=$work/small.onnx" --var "out=$work/ours.onnx" \
    --var format=int4 --var "algorithm=$algorithm" >/dev/null
  "$python" bench/weight-only/peer.py "$work/small.onnx" "$work/small.npz" "$work/peer.onnx" rtn 32 false 2>/dev/null
  "$python" bench/weight-only/compare.py "$work/small.onnx" "$work/small-test.npz" ours="$work/ours.onnx" peer="$work/peer.onnx" || status=1
done
if [[ ${NNCF:-} = 1 ]]; then
  search=$PWD/bench/results/quantize-search
  [[ -f $work/deep.onnx ]] || "$python" bench/weight-only/make.py "$work/deep.onnx" "$work/deep.npz" 8 192 3000 64 64
  if [[ -f $search/minilm.onnx && -f $search/minilm-test.npz ]]; then
    cp "$search/minilm.onnx" "$search/minilm-test.npz" "$work"
    cp "$search/minilm-calibration.npz" "$work/minilm.npz"
  fi
  for m in small deep minilm; do
    [[ -f $work/$m.onnx ]] || { echo "$m: not there; bench/quantize-search.sh $m brings it"; continue; }
    echo
    echo "== $m: int4, blocks of 32, chosen with data"
    results=()
    for a in gptq awq; do
      bin/optimize apply --no-color bench/weight-only/calibrated.hcl --var "data=$work/$m.npz" --var "model=$work/$m.onnx" --var "out=$work/$m-$a.onnx" \
        --var "algorithm=$a" --var embeddings=false >/dev/null
    done
    "$python" bench/weight-only/peer.py "$work/$m.onnx" "$work/$m.npz" "$work/$m-peer.onnx" gptq 32 false >"$work/$m-peer.log" 2>&1 || cat "$work/$m-peer.log"
    for a in rtn awq awq+se gptq gptq+se; do
      "$python" bench/weight-only/nncf_peer.py "$work/$m.onnx" "$work/$m.npz" "$work/$m-$a.xml" 32 "$a" >"$work/$m-$a.log" 2>&1 || { tail -1 "$work/$m-$a.log"; continue; }
      results+=("peer-nncf-$a=$work/$m-$a.xml")
    done
    "$python" bench/weight-only/compare.py "$work/$m.onnx" "$work/$m-test.npz" ours="$work/$m-gptq.onnx" ours-awq="$work/$m-awq.onnx" \
      peer-gptq="$work/$m-peer.onnx" "${results[@]}" || status=1
  done
fi
if [[ ${LARGE:-} = 1 ]]; then
  echo
  echo "== 100 million parameters, int4, gptq, blocks of 32"
  [[ -f $work/large.onnx ]] || "$python" bench/weight-only/make.py "$work/large.onnx" "$work/large.npz"
  # shellcheck disable=SC2046
  bin/measure -runs 1 -warmup 0 "${memory[@]}" $(ours ours large int4 gptq 32 false) || status=1
  "$python" bench/weight-only/compare.py "$work/large.onnx" "$work/large-test.npz" ours="$work/ours.onnx" || status=1
fi
exit "$status"
