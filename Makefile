# CI runs the same targets: see .ci/run.

# The version control state is not stamped into what is built, so that a
# checkout that belongs to another user, or is none, builds the same. The codec's
# fast paths are for lists and maps, of which we encode none: 6 MB, in memory too.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -buildvcs=false -tags=codec.notfastpath)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2 # 2026.2.2
FUZZTIME    := 10s
BENCH       :=
BENCHFLAGS  :=
LENGTH      := 20m
SEED        := 0
HOST        :=
VERSION     :=

.PHONY: help build demo test lint pure race smoke torture fuzz bench update docker dockertest kubecheck elsewhere dist clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the plugin, build/duo_in.so, and its companion program, build/duoctl
	go build -buildmode=c-shared -trimpath -ldflags "-s -w" -o build/duo_in.so ./plugin
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o build/ ./cmd/duoctl

demo: build ## Watch the plugin work, without a Duo account: about 20 seconds, and only build/ is left
	go build -o build/ ./internal/demo
	@build/demo

test: lint pure race smoke ## All that must pass: lint, pure, race and smoke
	@echo "Real Fluent Bit: $$(command -v "$${FLUENT_BIT:-fluent-bit}" || \
		echo '*** NOT FOUND: the scenarios ran in the C host only. Put fluent-bit on PATH or its path into $$FLUENT_BIT. ***')"

lint: ## gofmt, go vet with and without cgo and for Windows, staticcheck
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); test -z "$$unformatted" || { echo "run gofmt -w on: $$unformatted"; exit 1; }
	go vet ./...
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 GOOS=windows go vet ./...
	go run $(STATICCHECK) ./...

pure: ## All tests that need no cgo
	CGO_ENABLED=0 go test -timeout 20m ./...

race: ## All tests under the race detector, the slowest shorter, with the scenarios in the C host and in Fluent Bit
	go test -race -count 1 -parallel 4 -timeout 20m ./...

smoke: ## Fuzz each fuzz test for three seconds, from its seeds
	go run ./internal/fuzz -cold -time 3s

torture: ## Break all there is to break for LENGTH, 20m unless set, by SEED, in HOST: flbhost, fluent-bit or both
	go test ./internal/scenario -count 1 -timeout 3h -v -run '^TestTorture$$' \
		-torture.length=$(LENGTH) -torture.seed=$(SEED) -torture.host=$(HOST)

fuzz: ## Fuzz each fuzz test for FUZZTIME, 10s unless set
	go run ./internal/fuzz -time $(FUZZTIME)

bench: ## Measure every budget side by side, 10 minutes; BENCHFLAGS=-quick in one; BENCH=pattern only those Go benchmarks
	go build -o build/ ./internal/bench
	@build/bench $(BENCHFLAGS) -micro '$(BENCH)'

update: ## Rewrite what is made from the code: golden files, the tables of README and docs/formats.md
	go test ./duo ./plugin ./plugin/record ./cmd/duoctl ./internal/monitor ./internal/siem -update

docker: ## Build the image duo_in: Fluent Bit with the plugin; DOCKERFLAGS are passed on
	docker build $(DOCKERFLAGS) -t duo_in .

dist: ## Make a release in dist/: archives, packages, SHA256SUMS; VERSION=v1.2.3 names it, else plugin/version.go does
	go run ./internal/dist -version "$(VERSION)"

dockertest: docker ## Test the image duo_in; as root also with secrets of other users
	go test ./internal/image -count 1 -v -image duo_in

kubecheck: ## Check deploy/kubernetes with Kubernetes' own types
	cd internal/kubecheck && go vet ./... && go test -count 1 ./...

elsewhere: ## Run what is built for Windows in Wine, and for arm64 in QEMU
	go test ./internal/scenario -count 1 -run '^TestElsewhere$$' -elsewhere -v -timeout 40m

clean: ## Remove what was built, and sim/, what duoctl sim wrote, checkpoints too
	rm -rf build dist sim
