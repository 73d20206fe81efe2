#!/usr/bin/env bash
# Memory that preparing a dataset takes, as whole `optimize apply`: 1,000 samples and 50,000 of them, from image files, CSV,
# JSON lines and NumPy's archives. Fails when fifty times the samples take over 1.35 times the memory: peaks of equal runs are a
# tenth apart, as the garbage collector falls. A shuffled array is put in order in memory, up to 64 MiB of it. At the end JSON
# lines against Python's json and NumPy; fails when the package is slower.
set -euo pipefail
cd "$(dirname "$0")/.."
few=${FEW:-1000} many=${MANY:-50000}

bench/setup.sh
mkdir -p bin
go build -o bin/measure ./bench/measure
go build -o bin/optimize .
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for n in "$few" "$many"; do bench/.venv/bin/python bench/dataset/make.py "$work/$n" "$n"; done

side() { # NAME SAMPLES SOURCE
  echo :: "$1" OPTIMIZE_CACHE={dir}/cache OPTIMIZE_VAR_data="$work/$2" bin/optimize apply --no-color --target "dataset.$3" bench/dataset/recipe.hcl
}

status=0
for source in photos:1.35 table:1.35 lines:1.35 arrays:1.35 shuffled:2.5; do
  echo
  echo "== ${source%:*}, $few and $many samples"
  # shellcheck disable=SC2046 # words on purpose: paths of this repository with spaces are not supported here
  bin/measure -runs 1 -warmup 0 -memory 3 -against few -grow "${source#*:}" $(side few "$few" "${source%:*}") $(side many "$many" "${source%:*}") || status=1
done

echo
echo "== lines, $many samples, against Python's json and NumPy"
go test -c -o bin/dataset.test ./dataset
export OPTIMIZE_BENCH_LINES=$work/$many/lines.jsonl
bin/measure -runs 5 -against python -gate :: package bin/dataset.test -test.run '^$' -test.bench '^BenchmarkLines$' -test.benchtime 1x \
  :: python bench/.venv/bin/python bench/dataset/lines.py "$OPTIMIZE_BENCH_LINES" "$work/lines.npz" || status=1
exit "$status"
