# make demo and make test are all that a newcomer needs; `make help` lists the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= 0.1.0
FUZZTIME ?= 20s

RECIPE    := recipes/digits/recipe.hcl
LDFLAGS   := -s -w -X main.version=$(VERSION)
PORTABLE  := core sdk tensor metrics dataset onnx plugins/openvino
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: tools
tools: # What this machine must have, with a clear word for each thing it lacks
	@scripts/check-tools.sh

.PHONY: build
build: tools ## Build bin/optimize
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/optimize .

.PHONY: runtime
runtime: build # The ONNX Runtime library, into the user's data folder; does nothing when it is there
	bin/optimize init --upgrade $(RECIPE)

.PHONY: runtimes
runtimes: runtime # All libraries that the tests need, OpenVINO's too
	bin/optimize init

.PHONY: demo
demo: runtime ## Quantize a digit classifier, measure it against its original and print the table
	bin/optimize apply $(RECIPE)

.PHONY: test
test: export OPTIMIZE_REQUIRE_RUNTIME = 1
test: runtimes lint cross proto ## Everything that a change must pass; no test that needs an engine is skipped
	go test ./...

.PHONY: test-slow
test-slow: export OPTIMIZE_REQUIRE_RUNTIME = 1
test-slow: export OPTIMIZE_REFEREE_PYTHON = $(CURDIR)/bench/.venv/bin/python
test-slow: export OPTIMIZE_CHAOS = 500
test-slow: export OPTIMIZE_LARGE = 1
test-slow: runtimes check-generate fuzz ## What takes longer: the race detector, referees in Python, fuzzing, generated code
	bench/setup.sh export
	go test -race -timeout 60m ./...

.PHONY: race
race: export OPTIMIZE_REQUIRE_RUNTIME = 1
race: runtimes ## The tests under the race detector
	go test -race -timeout 30m ./...

.PHONY: lint
lint: bin/golangci-lint ## gofmt, go vet, golangci-lint with the arrows between the rooms, where cgo may be
	@files="$$(gofmt -l .)"; \
	if [ -n "$$files" ]; then printf 'not formatted, run gofmt -w on:\n%s\n' "$$files" >&2; exit 1; fi
	go vet ./...
	bin/golangci-lint run ./...
	@cgo="$$(go list -f '{{if .CgoFiles}}{{.ImportPath}}{{end}}' ./... | grep -vE '/(ort|plugins/openvino/ov)$$' || true)"; \
	if [ -n "$$cgo" ]; then printf 'cgo belongs in ort and plugins/openvino/ov only, found it in:\n%s\n' "$$cgo" >&2; exit 1; fi

bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && go build -trimpath -ldflags '-s -w' -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: proto
proto: bin/buf ## The plugin protocol's style, and that it breaks nothing of the last release
	bin/buf lint
	bin/buf breaking --against sdk/pluginv1/released.binpb

bin/buf: tools/buf/go.mod tools/buf/go.sum
	cd tools/buf && go build -trimpath -ldflags '-s -w' -o ../../bin/buf github.com/bufbuild/buf/cmd/buf

.PHONY: cross
cross: ## Compile everything but ort, what needs it and the command for every platform, without cgo
	@for platform in $(PLATFORMS); do \
	  echo "cross-compile $$platform"; \
	  CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} go build $(patsubst %,./%/...,$(PORTABLE)) || exit 1; \
	done

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (20s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: generate
generate: ## Write the generated code anew (needs protoc)
	scripts/generate.sh

.PHONY: check-generate
check-generate: generate ## Fail when the generated code is not what `make generate` writes
	git diff --exit-code -- '*.pb.go'

.PHONY: bench
bench: build ## Measure against the peers, side by side (bench/README.md)
	bench/setup.sh
	bench/startup.sh
	bench/quantize-static.sh
	bench/quantize-dynamic.sh
	bench/images.sh
	bench/plugin.sh
	bench/onnx.sh

.PHONY: clean
clean: ## Remove what the build, the demo and the bench left in this folder
	rm -rf bin bench/.venv bench/results
	find recipes bench -type d \( -name .optimize -o -name dist \) -prune -exec rm -rf {} +
