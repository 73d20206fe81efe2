#!/usr/bin/env bash
# Puts the peers, at pinned versions, into bench/.venv. With `export` also what exports models: PyTorch and transformers,
# which take several gigabytes where the package of PyTorch brings CUDA; with `weights` those that make weights smaller.
# Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")"

files=(requirements.txt)
for extra in "$@"; do files+=("requirements-$extra.txt"); done
missing=()
for f in "${files[@]}"; do
  cmp -s "$f" ".venv/$f" || missing+=("$f")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi

if [ "${missing[0]}" = requirements.txt ]; then rm -rf .venv; missing=("${files[@]}"); fi
args=()
for f in "${files[@]}"; do args+=(-r "$f"); done
if command -v uv >/dev/null 2>&1; then
  [ -d .venv ] || uv venv --quiet --python '>=3.11' .venv
  uv pip install --quiet --python .venv/bin/python "${args[@]}"
else
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "missing: Python 3.11 or newer, which the pinned peers want; or uv, which brings one." >&2
    exit 1
  }
  [ -d .venv ] || python3 -m venv .venv || {
    echo "missing: Python's venv. Debian and Ubuntu: apt-get install python3-venv." >&2
    exit 1
  }
  .venv/bin/pip install --quiet --disable-pip-version-check "${args[@]}"
fi
for f in "${missing[@]}"; do cp "$f" ".venv/$f"; done
