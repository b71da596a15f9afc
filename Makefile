# Two commands do everything: `make run` and `make test`. The rest are their parts.

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

GATEWAY = $(CARGO_TARGET_DIR)/release/portcullis

.PHONY: run test lint schemathesis sdk clients counts counts-proxied counts-record bench compare growth attack instructions fuzz packages help

help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: packages ## The gateway on an embedded store in ./data, with a demo service behind it
	cargo build --locked --release --features gateway --bin portcullis
	@scripts/run $(GATEWAY)

test: packages ## Every test
	cargo test --locked --all-features

lint: packages ## What CI checks beside the tests
	scripts/lint

schemathesis: packages ## What each surface answers, held to its own description
	cargo build --locked --all-features --bin portcullis
	@scripts/schemathesis $(CARGO_TARGET_DIR)/debug/portcullis

sdk: packages ## The vendor's own SDK against the APIG surface
	cargo build --locked --all-features --bin portcullis
	@scripts/sdk $(CARGO_TARGET_DIR)/debug/portcullis

clients: packages ## Clients generated from each surface's description, and calls with them
	cargo build --locked --all-features --bin portcullis
	@scripts/clients/generate $(CARGO_TARGET_DIR)/debug/portcullis

counts: packages ## What a decision costs, in instructions, against what is recorded
	@scripts/counts --check

counts-proxied: packages ## What a proxied request costs, in instructions, against what is recorded
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions --check

counts-record: packages ## Records that anew
	@scripts/counts --record
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions --record

bench: packages ## The benches; each says what it measures, and what it does not
	cargo bench --all-features

compare: packages ## Our gateway beside others: COMPARE_PEERS, COMPARE_CELLS, COMPARE_ROUNDS; see docs/performance
	@benches/compare/setup
	@benches/compare/compare

growth: packages ## How the cost of our gateway grows, with keys, routes, connections and more
	@COMPARE_PEERS=portcullis benches/compare/setup
	@benches/compare/growth

attack: packages ## What attackers do to a client that behaves
	@COMPARE_PEERS=portcullis benches/compare/setup
	@benches/attack/attack

instructions: packages ## Instructions of one request, under Valgrind
	@COMPARE_PEERS=portcullis,valgrind benches/compare/setup
	@benches/compare/instructions

fuzz: packages ## Every fuzz target, FUZZ_SECONDS (60) each; FUZZ_TARGET=strict, connection or responses for one
	@scripts/fuzz

packages:
	@scripts/packages
