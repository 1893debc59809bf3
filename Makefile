# `make demo` and `make test` are all a newcomer needs; `make` lists the rest.
# Every recipe says what it installs before it does. Nothing here needs root except through
# scripts/prerequisites, and only when a program is missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help prerequisites build demo test lint generate bench fuzz install clean

help: ## List the targets
	@printf 'lerianctl: operate multi-tenant Lerian deployments\n\n'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r target what; do printf '  make %-14s %s\n' "$$target" "$$what"; done

prerequisites: ## Install what is missing: PostgreSQL, Redis, a C compiler (apt-get; elsewhere prints the command)
	@scripts/prerequisites

build: ## Compile the program into target/debug
	cargo build --locked

demo: ## Walk the whole story on private servers, with the real commands
	@scripts/prerequisites demo
	cargo build --locked
	@scripts/demo target/debug/lerianctl

test: ## Install what is missing, lint, and run every test against real PostgreSQL and Redis
	@scripts/prerequisites test
	@scripts/lint
	@scripts/fetch-axe
	@if folder=$$(scripts/postgres18); then export LERIANCTL_TEST_POSTGRES_18_BIN=$$folder; \
		else echo 'test: SKIPPED on PostgreSQL 18: its programs could not be had' >&2; fi; \
	if folder=$$(scripts/mongodb); then export LERIANCTL_TEST_MONGODB=$$folder; \
		else echo 'test: SKIPPED with MongoDB: a server could not be had' >&2; fi; \
		cargo test --locked

lint: ## Check format, clippy, documentation, dependencies, scripts and spelling
	@scripts/prerequisites test
	@scripts/lint

generate: ## Write again every generated file: completions, man pages, schemas, tables, the picture
	@scripts/prerequisites demo
	cargo build --locked
	@scripts/generate target/debug/lerianctl

bench: ## Measure against bare SQL, a shell loop and an empty program (release build, several minutes)
	@scripts/prerequisites test
	cargo bench --locked

fuzz: ## Fuzz every parser of foreign bytes (nightly and cargo-fuzz; FUZZ_SECONDS=60 each)
	@scripts/fuzz

install: ## Build for speed and install into cargo's bin folder
	@scripts/prerequisites build
	cargo install --locked --path .

clean: ## Remove everything that was built
	cargo clean
