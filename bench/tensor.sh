#!/usr/bin/env bash
# Conversions and scans of 16 million numbers: package tensor, on all cores and on one, against NumPy and ml_dtypes, in rounds
# that take turns; of each side the best time counts, since what else runs only adds. Prints milliseconds and ratios.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}

bench/setup.sh
mkdir -p bin
go test -c -o bin/tensor.test ./tensor
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set

cores=$(getconf _NPROCESSORS_ONLN)
for _ in $(seq "$rounds"); do
  GOMAXPROCS=$cores bin/tensor.test -test.run '^$' -test.bench '^BenchmarkNumbers$' -test.benchtime 20x | awk -v side=all -v cores="$cores" '/^Benchmark/ {sub(/^.*\//, "", $1); if (cores > 1) sub(/-[0-9]+$/, "", $1); print side, $1, $5}'
  GOMAXPROCS=1 bin/tensor.test -test.run '^$' -test.bench '^BenchmarkNumbers$' -test.benchtime 20x | awk -v side=one '/^Benchmark/ {sub(/^.*\//, "", $1); print side, $1, $5}'
  bench/.venv/bin/python bench/tensor/peer.py 20 | awk '{print "numpy", $1, $2}'
done | awk '
  {key = $1 " " $2; if (!(key in best) || $3 < best[key]) best[key] = $3; if (!($2 in seen)) {seen[$2] = 1; order[++n] = $2}}
  END {
    printf "%-10s %12s %8s %12s %8s %12s\n", "", "all cores ms", "ratio", "one core ms", "ratio", "NumPy ms"
    for (i = 1; i <= n; i++) {k = order[i]; p = best["numpy " k]; printf "%-10s %12.2f %8.3f %12.2f %8.3f %12.2f\n", k, best["all " k], best["all " k] / p, best["one " k], best["one " k] / p, p}
  }'
