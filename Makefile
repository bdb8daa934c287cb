# Needs Python 3.11 or newer, git and make; everything else goes into .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-fast lint format attack fuzz bench bench-codecs vectors clean

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

attack: venv ## every attack and fault, with its verdict, into reports/attacks.json (half an hour)
	@$(BIN)/python -m tests.attacks

fuzz: venv ## damaged input for every decoder: FUZZ_SECONDS=60, into reports/fuzz.json
	$(BIN)/python -m tests.attacks.fuzz --seconds $(or $(FUZZ_SECONDS),60)

bench: venv ## the bare floor of a sealed transfer, into reports/bench.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.floor > reports/bench.json

bench-codecs: venv ## compression per kind of image, into reports/codecs.json
	@mkdir -p reports
	$(BIN)/python -m benchmarks.codecs --output reports/codecs.json

vectors: venv ## write the test vectors anew
	$(BIN)/python tests/vectors/generate.py

clean: ## remove .venv, caches and reports
	rm -rf .venv build dist reports .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
