#!/usr/bin/env bash
# A folder of JPEGs to normalised tensors: decode, shorter side to 256, crop 224, float32 in NCHW. As whole processes:
# package dataset (its benchmark, once), `optimize apply` (which also hashes every image and every shard, and keeps the
# result), and Pillow with NumPy, in one thread and in as many as there are cores. Fails when the package is slower than
# Pillow in all threads, or when the tensors differ visibly.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-11} count=${COUNT:-400}

bench/setup.sh
mkdir -p bin
go build -o bin/measure ./bench/measure
go test -c -o bin/dataset.test ./dataset
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=bench/.venv/bin/python
$python bench/images/make.py "$work/photos" "$count"
export OPTIMIZE_VAR_photos=$work/photos OPTIMIZE_BENCH_IMAGES=$work/photos
threads=$(getconf _NPROCESSORS_ONLN)
status=0
bin/measure -runs "$runs" -against threads -gate \
  :: package bin/dataset.test -test.run '^$' -test.bench '^BenchmarkImages$' -test.benchtime 1x \
  :: threads $python bench/images/peer.py "$work/photos" "$work/peer.npy" "$threads" || status=1
echo
bin/measure -runs "$runs" -against single \
  :: apply OPTIMIZE_CACHE={dir}/cache bin/optimize apply --no-color --target dataset.photos bench/images/recipe.hcl \
  :: single $python bench/images/peer.py "$work/photos" "$work/peer.npy" 1 || status=1

OPTIMIZE_CACHE=$work/cache bin/optimize apply --no-color --target dataset.photos bench/images/recipe.hcl >/dev/null
shards=$(dirname "$(find "$work/cache" -name dataset.json | head -1)")
$python bench/images/compare.py "$work/peer.npy" "$shards" || status=1
exit "$status"
