# Every command of this repository. `.ci/run` calls these and nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
GO ?= go

# The versions of the control plane are read from its go.mod: one place to change them.
control_plane_sources := $(addprefix tests/control-plane/,go.mod go.sum main.go)
control_plane := target/control-plane/control-plane
go_version := $(shell sed -n 's/^go //p' tests/control-plane/go.mod)
kubernetes_version := $(shell sed -n 's,^\tk8s.io/kubernetes ,,p' tests/control-plane/go.mod)

cargo_deny_version := 0.20.2
cargo_deny := target/tools/cargo-deny-$(cargo_deny_version)/bin/cargo-deny

.PHONY: help
help: ## list the targets
	@awk -F ': .*## ' '/^[a-z-]+:.*## /{printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## the demo: a cluster dies before your eyes; FLAGS=--stay keeps it for you to play with
	$(CARGO) run --locked --profile demo -- demo $(FLAGS)

.PHONY: test
test: control-plane ## every test, those against the real control plane included
	$(CARGO) test --locked --no-fail-fast --lib --bins --tests
	$(CARGO) test --locked --no-fail-fast --doc

.PHONY: test-quick
test-quick: ## every test that needs neither the control plane nor Go
	$(CARGO) test --locked --no-fail-fast --lib --bins $(if $(wildcard tests/it/main.rs),--test it)
	$(CARGO) test --locked --no-fail-fast --doc

.PHONY: bench-detection
bench-detection: control-plane ## how late a loss is detected, on the real API server (minutes)
	$(CARGO) bench --locked --bench detection

.PHONY: certs
certs: ## make a CA, a serving certificate and kube-scheduler's client certificate in certs/out
	@certs/gen.sh

.PHONY: check
check: $(cargo_deny) ## format, lints, documentation, licences and sources of the dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(cargo_deny) --locked check --hide-inclusion-graph bans licenses sources
	@if timeout 60 $(cargo_deny) fetch db >/dev/null 2>&1; \
	then $(cargo_deny) --locked check advisories; \
	else echo "check: the advisory database cannot be reached, so known vulnerabilities were not looked up"; fi

.PHONY: control-plane
control-plane: $(control_plane) ## build etcd, kube-apiserver, kube-scheduler, kube-controller-manager, kubectl for the tests

# A checkout gives the sources new timestamps, and the build takes minutes: a binary whose
# recorded sum still fits its sources is only touched.
$(control_plane): $(control_plane_sources)
	@mkdir -p $(@D); sum=$$(cat $^ | sha256sum); \
	if [[ -x $@ && -e $@.sum && "$$(< $@.sum)" == "$$sum" ]]; then touch $@; exit; fi; \
	command -v $(GO) >/dev/null || { \
	  echo "make control-plane: install Go $(go_version) or newer (https://go.dev/dl/)" >&2; exit 1; }; \
	echo "building the control plane of Kubernetes $(kubernetes_version) (minutes the first time)"; \
	output="$$PWD/$@"; cd tests/control-plane; \
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o "$$output.new" \
	  -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(kubernetes_version)" .; \
	mv "$$output.new" "$$output"; echo "$$sum" > "$$output.sum"

$(cargo_deny):
	@echo "installing cargo-deny $(cargo_deny_version)"
	@$(CARGO) install --quiet --locked --version $(cargo_deny_version) --root target/tools/cargo-deny-$(cargo_deny_version) cargo-deny
