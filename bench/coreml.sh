#!/usr/bin/env bash
# Real models as Core ML packages in half precision: the whole `optimize apply` against onnx2coreml and onnxsim --emit-coreml,
# whole processes on the same files with fixed shapes, in turns. Converts or not, size, wall time, peak of memory (GNU time).
# Then the weights of PP-OCR's recogniser quantized, pruned and clustered, run by the referee. Models are those of packages:
# FIXTURES names their folder. VENV names a folder with the peers (requirements-coreml.txt), made where it is missing. Fails
# when a peer converts what we do not, we are slower or take more memory than a peer, a package is more than 1% larger than a peer's, or a
# size of weights is over what coremltools.optimize reaches. What is aimed at is a tenth of a peer's time and a quarter of its memory: a
# line says where that is missed.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${FIXTURES:?names a folder of .onnx models}"
work=$PWD/bench/results/coreml
venv=${VENV:-$work/venv}
mkdir -p "$work" bin
if [[ ! -x $venv/bin/onnx2coreml ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r bench/requirements-coreml.txt
fi
time=$(command -v time) || { echo "missing: GNU time. Debian and Ubuntu: apt-get install time." >&2; exit 1; }
[[ -n ${OPTIMIZE:-} ]] || { go build -o bin/optimize .; OPTIMIZE=bin/optimize; }

# take NAME COMMAND...: seconds, KiB and bytes of what the command leaves at $out; "-" where it fails.
take() {
  rm -rf "$out" "$work/cache"
  local name=$1; shift
  if "$time" -f '%e %M' -o "$work/time" timeout "${LIMIT:-200}" "$@" >"$work/$name.log" 2>&1 && [[ -e $out ]]; then
    echo "$(tail -1 "$work/time") $(find "$out" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')"
  else
    echo "- - -"
  fi
}

status=0
printf '%-44s %-26s %-26s %-26s\n' model "ours: s, MiB, MB" onnx2coreml "onnxsim --emit-coreml" | tee "$work/table.txt"
for model in "$FIXTURES"/${ONLY:-*}.onnx; do
  name=$(basename "$model" .onnx)
  name=${name#*__}; name=${name##*models_}
  fixed=$work/model.onnx out=$work/out.mlpackage
  case $model in *light_*) continue ;; esac # graphs without weights
  "$venv/bin/python" bench/coreml/fix.py "$model" "$fixed"
  ours=$(OPTIMIZE_CACHE=$work/cache take ours "$OPTIMIZE" apply --no-color bench/coreml/recipe.hcl --var "model=$fixed" --var "out=$out")
  one=$(take onnx2coreml "$venv/bin/onnx2coreml" convert "$fixed" -o "$out" --target iOS17 --precision fp16)
  two=$(take onnxsim "$venv/bin/onnxsim" "$fixed" "$work/sim.onnx" --emit-coreml "$out" --coreml-minimum-deployment-target iOS17)
  awk -v name="${name:0:43}" -v a="$ours" -v b="$one" -v c="$two" '
    function show(s, p) { split(s, p, " "); return p[1] == "-" ? "does not convert" : sprintf("%.2f %.0f %.2f", p[1], p[2] / 1024, p[3] / 1e6) }
    function bad(s, p, q) {
      split(s, p, " "); split(a, q, " ")
      if (p[1] == "-") return ""
      if (q[1] == "-") return " ONLY-A-PEER"
      if (q[1] > p[1] / 10 && !(q[1] > p[1])) note = note " over-a-tenth-of-the-time"
      if (q[2] > p[2] / 4 && !(q[2] > p[2])) note = note " over-a-quarter-of-the-memory"
      return (q[1] > p[1] ? " SLOWER" : "") (q[2] > p[2] ? " MORE-MEMORY" : "") (q[3] > p[3] * 1.01 ? " LARGER" : "")
    }
    BEGIN { w = bad(b) bad(c); printf "%-44s %-26s %-26s %-26s%s%s\n", name, show(a), show(b), show(c), w, note; exit w != "" }' | tee -a "$work/table.txt" || status=1
done

rec=$(ls "$FIXTURES"/*PP-OCRv4_rec_infer.onnx 2>/dev/null || true)
if [[ -n $rec && -z ${ONLY:-} ]]; then
  echo; echo "== PP-OCR's recogniser: bytes of packages, and how far they are from ONNX Runtime"
  "$venv/bin/python" bench/coreml/int8.py "$rec" "$work/int8.onnx"
  for precision in float16 float32; do
    o=$work/$precision; rm -rf "$o"
    OPTIMIZE_CACHE=$work/cache "$OPTIMIZE" apply --no-color bench/coreml/weights.hcl --var "model=$rec" --var "int8=$work/int8.onnx" --var input=x \
      --var 'shape=[1,3,48,320]' --var "precision=$precision" --var "out=$o" | grep 'output sizes' | tee "$work/sizes.txt"
    [[ $precision = float32 ]] || python3 - "$work/sizes.txt" <<'P' || status=1
import json, sys
sizes = json.loads(open(sys.argv[1]).read().split("=", 1)[1])
over = [k for k, most in {"plain": 5.54e6, "int8": 2.98e6, "pruned": 3.24e6, "clustered": 1.57e6}.items() if sizes[k] > most]
sys.exit("over the sizes of coremltools.optimize: " + ", ".join(over) if over else 0)
P
  done
  "$venv/bin/python" bench/coreml/check.py 1e-5 x=1x3x48x320 plain "$rec" "$o/plain.mlpackage" int8 "$work/int8.onnx" "$o/int8.mlpackage" \
    pruned "$o/pruned.onnx" "$o/pruned.mlpackage" clustered "$o/clustered.onnx" "$o/clustered.mlpackage" || status=1
fi
exit "$status"
