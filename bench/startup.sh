#!/usr/bin/env bash
# Whole processes that do little, interleaved with the import that every run of the peer begins with.
# Fails when a median is over its limit: version 15 ms, validate 50 ms, a fully cached apply 100 ms.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-31}

bench/setup.sh
mkdir -p bin
go build -o bin/measure ./bench/measure
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peer's numpy where they are set

# A store of its own, filled once, so that the cached apply measures nothing but the lookup.
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
recipe=recipes/digits/recipe.hcl
OPTIMIZE_CACHE=$store bin/optimize apply --no-color "$recipe" >/dev/null

bin/measure -runs "$runs" -against import -limit version=15ms -limit validate=50ms -limit cached=100ms \
  :: version bin/optimize version \
  :: validate OPTIMIZE_CACHE="$store" bin/optimize validate --no-color "$recipe" \
  :: cached OPTIMIZE_CACHE="$store" bin/optimize apply --no-color --reuse-benchmarks "$recipe" \
  :: import bench/.venv/bin/python -c 'import onnxruntime.quantization'
