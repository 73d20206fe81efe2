#!/usr/bin/env bash
# Writes the generated code anew. protoc's Go plugins come from go.mod, so their versions are pinned; protoc itself must be there.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v protoc >/dev/null 2>&1 || {
  echo "missing: protoc. Debian and Ubuntu: apt-get install protobuf-compiler. macOS: brew install protobuf." >&2
  exit 1
}
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
go build -o "$plugins/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$plugins:$PATH" go generate ./...
