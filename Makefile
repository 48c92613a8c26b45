# Everything that is built, checked and installed. `make help` lists the targets.

CARGO ?= cargo
# Seeds of the simulator that `make test` runs, a fifth of them twice.
SEEDS ?= 2000
# How long `make soak` goes on.
SOAK_SECONDS ?= 600
# How long `make ledger` adds to the ledger; 0 = only print it.
LEDGER_SECONDS ?= 0
# How many changes of the core `make mutants` tries (0: all), drawn by which seed, and for how long.
MUTANTS_SAMPLE  ?= 100
MUTANTS_SEED    ?= 1
MUTANTS_SECONDS ?= 3600
JOBS  ?= $(shell nproc)

# How often, and how long each time, `make peers` measures.
PEERS_ROUNDS  ?= 3
PEERS_SECONDS ?= 3

# How long `make fuzz` runs each target, which ones (empty: all), and where its compiler driver is kept.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
CARGO_FUZZ   := target/tools/bin/cargo-fuzz
CARGO_FUZZ_VERSION := 0.13.2

.PHONY: help all lib test tools lint test-rust test-loom soak simulate counts counts-bless ledger deny fuzz mutants bench bench-compare bench-bless peers clean

.DEFAULT_GOAL := help

# The C face: header, test-c, install, install-files, uninstall.
include ffi.mk

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: lib ## The library, and the command in target/release/decurion.
	$(CARGO) build --release --locked

lib: ## What a host links: the shared and the static library, without the command and the simulator.
	$(CARGO) build --release --locked --lib --no-default-features
	@$(MAKE) --no-print-directory lib-names

test: tools lint simulate counts test-rust ## Everything that must hold before a change is taken.

tools: ## Installs, or names, what the tests need beyond Rust and a C compiler.
	@.ci/tools

lint: ## Formatting, and every warning an error, also of the documentation, and of what compiles files of the library elsewhere.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	$(CARGO) clippy --locked --manifest-path benches/peers/Cargo.toml --target-dir target -- -D warnings
	$(CARGO) clippy --locked --manifest-path loom/Cargo.toml --target-dir target -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

test-rust: ## Unit, property, scenario and documentation tests, the C face, the replay of the fuzz corpus, ten seconds of fuzzing.
	$(CARGO) test --locked --workspace --no-fail-fast

simulate: ## SEEDS (default 2000) runs of the simulator, a fifth of them twice: no promise broken, the same trace both times; and all small cases.
	$(CARGO) build --release --locked
	@.ci/simulate $(BUILT)/decurion $(SEEDS) $(JOBS)

test-loom: ## What works without locks, in every interleaving of a few threads that loom tells apart.
	$(CARGO) run --release --locked --manifest-path loom/Cargo.toml

soak: ## Real processes under faults that take turns for SOAK_SECONDS (default 600): memory and descriptors stay flat.
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --test process_soak -- --nocapture

ledger: ## Adds LEDGER_SECONDS (default 0) of simulating, fuzzing, kills and partitions to the ledger of this core, and prints it.
	@if [ "$(LEDGER_SECONDS)" -gt 0 ]; then $(CARGO) build --release --locked && .ci/ledger add $(BUILT)/decurion $(LEDGER_SECONDS); fi
	@.ci/ledger show

deny: ## Licences, bans, sources and advisories by cargo-deny, where it is installed.
	$(CARGO) deny check

fuzz: $(CARGO_FUZZ) ## Every fuzz target for FUZZ_SECONDS (default 60), then the corpus minimised. Needs a nightly compiler.
	@.ci/fuzz $(CARGO_FUZZ) $(FUZZ_SECONDS) $(FUZZ_TARGETS)

$(CARGO_FUZZ):
	$(CARGO) install --locked --root target/tools cargo-fuzz --version $(CARGO_FUZZ_VERSION)

mutants: ## MUTANTS_SAMPLE (default 100) small changes of the core, drawn at random: which seed, scenario or test notices each.
	$(CARGO) run --release --locked --manifest-path mutants/Cargo.toml -- \
	  --sample $(MUTANTS_SAMPLE) --seed $(MUTANTS_SEED) --seconds $(MUTANTS_SECONDS) --jobs $(JOBS)

# What the command is built of, built for it already: only the pieces are new.
HOT := $(CARGO) build --release --locked && $(CARGO) build --release --locked --package decurion-hot && $(BUILT)/hot

counts: ## Instructions of every hot piece, held to benches/hot/instructions.tsv (docs/HOT_PIECES.md).
	$(HOT) counts

counts-bless: ## Makes that table anew.
	$(HOT) counts --bless

bench: ## The benches of the hot paths.
	$(CARGO) bench --locked --workspace

bench-compare: ## Times every hot piece and compares with benches/hot/baseline.tsv: fails where one takes half as long again.
	BASELINE=compare $(CARGO) bench --locked --package decurion-hot

bench-bless: ## Makes that table anew.
	BASELINE=bless $(CARGO) bench --locked --package decurion-hot

peers: ## Beside what one could pick instead, PEERS_ROUNDS (default 3) rounds of PEERS_SECONDS (default 3): installs it, writes docs/BENCHMARKS.md.
	benches/peers/run --rounds $(PEERS_ROUNDS) --seconds $(PEERS_SECONDS) --write docs/BENCHMARKS.md

clean: ## Removes everything that was built.
	$(CARGO) clean
	rm -rf fuzz/target fuzz/artifacts loom/target mutants/target benches/peers/target benches/peers/java/target
