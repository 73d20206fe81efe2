#!/usr/bin/env bash
# A recipe of 1,000 steps, chains and for_each, planned by the whole command with its plugin; then 2,000 and 4,000 steps.
# cpu is of the command and its plugin together: on a busy machine the better figure. Fails when 1,000 steps take 300 ms or more, or when memory grows faster than the steps.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-10}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/optimize" .
go build -o "$dir/plugins/optimize-plugin-demo" ./core/cli/testdata/demoplugin
cp recipes/digits/digits.onnx "$dir/m.onnx"

# recipe N: a half in chains of ten, a quarter with for_each, and a quarter that takes those instance by instance. Each
# configuration of a quarter differs, so that the plugin is asked about it.
recipe() {
  awk -v n="$1" 'BEGIN {
    print "recipe {\n  required_plugins {\n    demo = { version = \">= 1\" }\n  }\n}\nmodel \"m\" { source = \"m.onnx\" }"
    printf "locals {\n  parts = { for i in flatten([for a in range(%d) : [for b in range(250) : a * 250 + b]]) : format(\"p%%05d\", i) => i }\n}\n", n / 1000
    for (i = 0; i < n / 2; i++)
      printf "step \"demo_copy\" \"c%d\" {\n  model = %s\n  count = %d\n}\n", i, i % 10 ? "step.c" (i - 1) ".model" : "model.m", i % 10
    print "step \"demo_copy\" \"a\" {\n  for_each = local.parts\n  model    = model.m\n  count    = each.value\n}"
    print "step \"demo_copy\" \"b\" {\n  for_each = local.parts\n  model    = step.a[each.key].model\n  count    = each.value\n}"
  }' >"$dir/recipe-$1.hcl"
}

export OPTIMIZE_PLUGINS=$dir/plugins OPTIMIZE_CACHE=$dir/cache
failed=0
first=0
printf '%6s  %10s  %10s  %10s\n' steps 'median ms' 'cpu ms' 'peak MB'
for n in 1000 2000 4000; do
  recipe "$n"
  "$dir/optimize" plan "$dir/recipe-$n.hcl" >"$dir/plan" # unmeasured: the store and the memo of schemas are made
  [ "$(grep -c demo_copy "$dir/plan")" -eq "$n" ] || { echo "the plan of $n steps has $(grep -c demo_copy "$dir/plan")"; exit 1; }
  for _ in $(seq "$runs"); do
    start=$(date +%s%N)
    /usr/bin/time -f '%M %U %S' -a -o "$dir/rss-$n" "$dir/optimize" plan "$dir/recipe-$n.hcl" >/dev/null
    echo $((($(date +%s%N) - start) / 1000)) >>"$dir/us-$n"
  done
  us=$(sort -n "$dir/us-$n" | sed -n "$(((runs + 1) / 2))p")
  kb=$(cut -d' ' -f1 "$dir/rss-$n" | sort -n | tail -1)
  cpu=$(awk '{ print int(($2 + $3) * 1000) }' "$dir/rss-$n" | sort -n | sed -n "$(((runs + 1) / 2))p")
  printf '%6d  %10d  %10d  %10d\n' "$n" $((us / 1000)) "$cpu" $((kb / 1000))
  case $n in
  1000)
    first=$kb
    [ "$us" -lt 300000 ] || { echo "1,000 steps take 300 ms or more" >&2; failed=1; }
    ;;
  *) [ $((kb)) -le $((first * n / 1000)) ] || { echo "memory grows faster than the steps" >&2; failed=1; } ;;
  esac
done
exit $failed
