# `make run` and `make test` are all that a user needs. The other targets are for development.

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

GATEWAY = $(CARGO_TARGET_DIR)/release/portcullis
# The gateway that schemathesis, sdk, clients and cors test, and that lint-packaging checks the configuration with. CI
# sets it to the one that `make test` has built, because building it alone builds most dependencies again, with fewer
# features.
TESTED_GATEWAY ?=
BUILD_TESTED = $(if $(TESTED_GATEWAY),true,cargo build --locked --package portcullis-gateway)
TESTED = $(or $(TESTED_GATEWAY),$(CARGO_TARGET_DIR)/debug/portcullis)

.PHONY: run test lint lint-packaging package schemathesis sdk clients cors counts counts-proxied counts-record bench compare growth attack instructions fuzz packages help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: packages ## Run the gateway with an embedded store in ./data and a demo upstream
	cargo build --locked --release --package portcullis-gateway
	@scripts/run $(GATEWAY)

test: packages ## Run all tests
	cargo test --locked --workspace --all-features

lint: packages ## Check format, lints, docs and licences, as CI does
	scripts/lint

lint-packaging: packages ## Check the systemd unit, the Dockerfile and the Kubernetes manifests
	@scripts/lint-packaging $(TESTED_GATEWAY)

package: packages ## Package the library, and run the README's example with the package
	@scripts/package

schemathesis: packages ## Test each management API against its OpenAPI description
	$(BUILD_TESTED)
	@scripts/schemathesis $(TESTED)

sdk: packages ## Test the APIG surface with the vendor's own SDK
	$(BUILD_TESTED)
	@scripts/sdk $(TESTED)

clients: packages ## Generate clients from the OpenAPI descriptions and test the APIs with them
	$(BUILD_TESTED)
	@scripts/clients/generate $(TESTED)

cors: packages ## Test CORS with curl, Python and Node
	$(BUILD_TESTED)
	@scripts/cors $(TESTED)

counts: packages ## Compare the instructions of a decision with the recorded figures
	@scripts/counts --check

counts-proxied: packages ## Compare the instructions of a proxied request with the recorded figures
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions --check

counts-record: packages ## Record the figures of counts and counts-proxied
	@scripts/counts --record
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions --record

bench: packages ## Run the benches; each documents what it measures
	cargo bench --all-features

compare: packages ## Compare the gateway with others (COMPARE_PEERS, COMPARE_CELLS, COMPARE_ROUNDS; see docs/performance)
	@benches/compare/setup
	@benches/compare/compare

growth: packages ## Measure how the cost grows with keys, routes, connections and more
	@COMPARE_PEERS=portcullis benches/compare/setup
	@benches/compare/growth

attack: packages ## Measure the latency of a regular client during attacks
	@COMPARE_PEERS=portcullis benches/compare/setup
	@benches/attack/attack

instructions: packages ## Count the instructions of one proxied request under Valgrind
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions

fuzz: packages ## Run each fuzz target for FUZZ_SECONDS (60); FUZZ_TARGET=strict, connection or responses runs one
	@scripts/fuzz

packages:
	@scripts/packages
