# Needs Python 3.11 or newer, git and make; everything else goes into .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-fast lint format audit attack fuzz bench bench-compare bench-peers bench-lines bench-budgets bench-codecs vectors clean

# Relative, so that a checkout below a path with spaces works.
BIN := .venv/bin
unexport PYTHONPATH PYTHONHOME
# More processes than this start more real servers than a small machine enjoys.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist load --maxschedchunk 4

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv:
	@sh tools/setup.sh

demo: venv ## a CT study travels from hospital A to hospital B, in a temporary folder
	@$(BIN)/medshare demo

test: lint ## everything continuous integration checks
	$(PYTEST)

test-fast: venv ## the tests that need no server and little time
	$(PYTEST) -m "not service and not slow"

lint: venv ## style, types, and the floors of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

audit: venv ## published faults of every installed package (pip-audit; needs a network)
	$(BIN)/python tools/audit.py

attack: venv ## every attack and fault, with its verdict, into reports/attacks.json (half an hour)
	@$(BIN)/python -m tests.attacks

fuzz: venv ## damaged input for every decoder: FUZZ_SECONDS=60, into reports/fuzz.json
	$(BIN)/python -m tests.attacks.fuzz --seconds $(or $(FUZZ_SECONDS),60)

bench: venv ## every step beside the bare floor, into reports/bench.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.bench --runs $(or $(RUNS),5) > reports/bench.json

bench-compare: ## reports/bench.json against the stored baseline; fails when it got worse
	$(BIN)/python -m benchmarks.compare reports/bench.json

bench-peers: venv ## scp, rsync, rclone, restic and others in one run, into reports/peers.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.peers --runs $(or $(RUNS),5) --output reports/peers.json --markdown reports/peers.md

bench-lines: venv ## slow, long and lossy lines (needs network namespaces), into reports/lines.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.lines --runs $(or $(RUNS),3) --output reports/lines.json --markdown reports/lines.md

bench-budgets: venv ## start-up, memory, small files and rate limits, into reports/budgets.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.budgets --output reports/budgets.json --markdown reports/budgets.md

bench-codecs: venv ## compression per kind of image, into reports/codecs.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.codecs --output reports/codecs.json

vectors: venv ## write the test vectors anew
	$(BIN)/python tests/vectors/generate.py

clean: ## remove .venv, caches and reports
	rm -rf .venv build dist reports .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
