#!/usr/bin/env bash
# Says in one line what is missing to build and run Optimize, and what to do about it.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=0
lack() { printf 'missing: %s\n' "$1" >&2; missing=1; }

# Go. Inside the module `go env` already obeys the go line of go.mod: an older Go that may fetch a newer one does so here.
if ! command -v go >/dev/null 2>&1; then
  lack "Go 1.26 or newer. Install it and put its bin folder on PATH."
elif ! version=$(go env GOVERSION 2>/dev/null); then
  lack "Go 1.26 or newer: $(GOTOOLCHAIN=local go version 2>&1 | head -n 1) cannot build this module. Update Go."
else
  number=${version#*go}                 # "go1.26.8" or "devel go1.27-abc"
  major=${number%%.*}
  minor=${number#*.}
  minor=${minor%%[!0-9]*}
  if ((major < 1 || (major == 1 && ${minor:-0} < 26))); then
    lack "Go 1.26 or newer: this one is $version. Update Go."
  fi

  # A C compiler: ONNX Runtime is reached through cgo.
  read -r -a cc <<<"$(go env CC)"
  if ! command -v "${cc[0]:-cc}" >/dev/null 2>&1; then
    lack "a C compiler (Go would call ${cc[0]:-cc}). Debian and Ubuntu: apt-get install gcc libc6-dev. macOS: xcode-select --install. Or set CC."
  elif [ "$(go env GOOS)" = linux ] && ! command -v "$(go env CXX | cut -d ' ' -f 1)" >/dev/null 2>&1; then
    lack "a C++ compiler (Go would call $(go env CXX)): OpenVINO is reached through it. Debian and Ubuntu: apt-get install g++. Or set CXX."
  elif [ "${CGO_ENABLED:-1}" = 0 ]; then
    lack "cgo: CGO_ENABLED=0 is set. Unset it; ONNX Runtime is reached through cgo."
  fi
fi

# pip or uv: `optimize init` fetches the libraries of the engines with it.
have_installer() {
  local c
  for c in "uv --version" "pip --version" "pip3 --version" "python3 -m pip --version" "python -m pip --version"; do
    if $c >/dev/null 2>&1; then return 0; fi
  done
  return 1
}
if ! have_installer; then
  lack "pip or uv, which bring the libraries of ONNX Runtime and OpenVINO. Debian and Ubuntu: apt-get install python3-pip. Elsewhere: install uv or Python with pip."
fi

exit "$missing"
