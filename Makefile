# `make` alone lists what there is. Every target is safe to say twice.

.DEFAULT_GOAL := help
.PHONY: help rehearse rehearse-gitops test conformance drill drill-rebuild fuzz mutants lint fmt clippy doc validate bench fidelity-or-say ci clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1 /' | while read -r name what; do printf '  make %-16s %s\n' "$$name" "$$what"; done

rehearse: ## six pretended machines become two clusters, before your eyes (Rust alone; about a minute the first time)
	@tools/rehearse

rehearse-gitops: ## the same, on to both clusters following a Git repository (story 3.3; needs git)
	@STORY=3.3 tools/rehearse

test: ## all tests that need Rust alone
	cargo test --workspace

conformance: ## what may happen to a run, on every kind of step: kills, signals, terminals, full disks, copies; a table (docs/trust.md)
	cargo test --release --test it conformance::every_row_of_the_conformance_suite_is_as_it_must_be -- --exact --ignored --nocapture

DRILL ?= 500
drill: ## DRILL=500 random schedules of kills and faults, each resumed to its end (DRILL=lines: every line of the journal); a table
	BOOTSTRAP_DRILL='$(DRILL)' cargo test --test it law_05_every_schedule_of_the_drill -- --ignored --nocapture

drill-rebuild: ## DRILL=500 random schedules of kills and faults for each way to rebuild; a table
	BOOTSTRAP_DRILL='$(DRILL)' cargo test --test it law_05_every_schedule_of_the_rebuilds -- --ignored --nocapture

FUZZ_SECONDS ?= 60
fuzz: ## FUZZ_SECONDS=60 for each reader: random playbooks, inventories, templates and journals (stable Rust and a C++ compiler)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tools/fuzz

mutants: ## what can be changed in the core without a test noticing (needs cargo-mutants; an hour)
	@cargo mutants --version >/dev/null 2>&1 || { echo 'mutants: cargo-mutants is not installed here: cargo install --locked cargo-mutants'; exit 1; }
	cargo mutants --output target

lint: fmt clippy ## format and lints

fmt:
	@if cargo fmt --version >/dev/null 2>&1; then set -x; cargo fmt --check; else echo 'lint: cargo fmt is not installed here: format not checked'; fi

clippy:
	@if cargo clippy --version >/dev/null 2>&1; then set -x; cargo clippy --all-targets -- -D warnings; else echo 'lint: cargo clippy is not installed here: lints not checked'; fi

doc: ## the library's documentation, without a warning
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --lib

validate: ## checks the shipped playbook
	cargo run --quiet --bin bootstrap -- validate

bench: ## how fast, beside go-task, just and make (PyPI), and masking beside aho-corasick (wants a quiet machine, some minutes)
	cargo bench --quiet --bench mask
	@tools/bench

ci: ## everything that must pass, in the order in which it fails fastest
	@tools/ci

clean: ## removes what was built
	cargo clean
	rm -rf .tools

include tools/judges/fidelity.mk
