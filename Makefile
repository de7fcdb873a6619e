# From nothing but Python (3.11 or newer) and make. `make help` lists the targets.
#
# PyTorch comes first and alone, so that nothing else decides which build of it is taken. The plain command takes the
# registry's default build, which on Linux brings the CUDA libraries along. For the much smaller CPU build hand pip
# the address of PyTorch's own CPU index, as PyTorch's install page gives it:
#   make venv PIP_TORCH_FLAGS="--index-url ADDRESS"

PYTHON ?= python3
PIP_TORCH_FLAGS ?=
TASKS ?=
BUDGET ?= 10m
OUT ?= benchmarks/results/main_path.jsonl
VENV := .venv
BIN := $(VENV)/bin
# Twice quiet: errors are shown, warnings and progress are not.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow check lint bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

venv: $(STAMP) ## create .venv and install everything (done by the other targets when needed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): PyTorch first, then the rest. Once; this can take some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install $(PIP_TORCH_FLAGS) "torch==2.13.0"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## train, evaluate and try a GPT on the project's own data (about 3 minutes)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(STAMP) ## the fast tests: offline, tiny models, some minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

test-slow: $(STAMP) ## the tests that train for minutes
	@$(BIN)/python -m pytest -m slow --timeout 1500 --durations 5

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/tree.py --check

check: lint test ## everything that CI asks of a change, but for the slow tests

bench: $(STAMP) ## the main path on real tasks: make bench TASKS=tasks.jsonl [BUDGET=10m] [OUT=results.jsonl]
	@test -n "$(TASKS)" || { echo "Which tasks? make bench TASKS=tasks.jsonl; benchmarks/bench_main_path.py says what such a file holds."; exit 2; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/bench_main_path.py $(TASKS) --budget $(BUDGET) --out $(OUT)

clean: ## remove .venv and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
