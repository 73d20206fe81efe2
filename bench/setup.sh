#!/usr/bin/env bash
# Puts the peers, at pinned versions, into bench/.venv. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")"

stamp=.venv/requirements.txt
if cmp -s requirements.txt "$stamp"; then exit 0; fi
rm -rf .venv
if command -v uv >/dev/null 2>&1; then
  uv venv --quiet --python '>=3.11' .venv
  uv pip install --quiet --python .venv/bin/python -r requirements.txt
else
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "missing: Python 3.11 or newer, which the pinned peers want; or uv, which brings one." >&2
    exit 1
  }
  python3 -m venv .venv || {
    echo "missing: Python's venv. Debian and Ubuntu: apt-get install python3-venv." >&2
    exit 1
  }
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
fi
cp requirements.txt "$stamp"
