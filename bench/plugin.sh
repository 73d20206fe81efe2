#!/usr/bin/env bash
# What a plugin's process costs: its start until the first answer, a step that does nothing, with and without telemetry,
# and a thousand of them in one apply. Limits: 25 ms, 5 ms, 2 s; telemetry adds what parts the two lines of Noop, a share
# of a step's time that must stay under 2% of any step that takes as long as a start.
set -euo pipefail
cd "$(dirname "$0")/.."

go test ./core/host -run '^$' -bench 'Start|Noop' -benchtime "${BENCHTIME:-200x}" | grep '^Benchmark' | while read -r name _ ns _; do
  awk -v name="$name" -v ns="$ns" 'BEGIN { printf "%-28s %8.2f ms\n", name, ns / 1e6 }'
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/plugins/optimize-plugin-demo" ./core/cli/testdata/demoplugin
go build -trimpath -o "$dir/optimize" .
cat >"$dir/recipe.hcl" <<'HCL'
recipe {
  required_plugins {
    demo = { version = ">= 1" }
  }
}

variable "round" {
  type = string
}

step "demo_noop" "a" {
  for_each = toset([for i in range(1000) : "n${i}"])
  text     = "${each.key} ${var.round}"
}
HCL
export OPTIMIZE_PLUGINS="$dir/plugins" OPTIMIZE_CACHE="$dir/cache"
once() { # ROUND prints seconds
  local began
  began=$(date +%s.%N)
  "$dir/optimize" apply "$dir" --var "round=$1" >/dev/null
  awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { print b - a }'
}
once 0 >/dev/null # plugins described, folders made
all=()
for i in $(seq "${RUNS:-7}"); do
  all+=("$(once "$i")")
done
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
printf '1,000 no-op steps, one apply  %6.2f s (%s)\n' "$(median "${all[@]}")" "${all[*]}"
