#!/usr/bin/env bash
# Runs each fuzz target of the module for the given time, one after the other.
# An input that breaks one is kept by go test under the package's testdata/fuzz: commit it with the repair.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}

found=0
for package in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    found=$((found + 1))
    echo "fuzz $package $target for $time"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
  done
done
echo "$found fuzz targets held"
