# Everything from a bare clone: each target sets up what it needs in .venv.
#   make quickstart   train a small network on generated data, and print what came of it
#   make test         the fast tests;  make test-all: the slow ones too
#   make test-bounds  the tests that run kernels, compiled with bounds checking
#   make fuzz         a million changed inputs to every reader (INPUTS=..., SEED=...)
#   make reliability  all that shows what docs/reliability.md promises: three hours; figures in reliability/
#   make lint types   ruff, mypy
PYTHON ?= python3
WORKERS ?= 2
INPUTS ?= 1000000
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev

.PHONY: quickstart test test-all test-bounds fuzz reliability lint types clean setup

quickstart: $(RUNTIME)
	$(BIN)/distlsh-launch --workers $(WORKERS)

test: $(DEV)
	$(BIN)/python -m pytest -q

test-all: $(DEV)
	$(BIN)/python -m pytest -q -m ""

# All but what runs no kernel; they are compiled for it into a cache of their own, three minutes of a core.
test-bounds: $(DEV)
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -q --timeout 600 tests/kernels tests/shm tests/data tests/lsh tests/model \
	  tests/evaluation tests/test_inference.py tests/runtime tests/integration tests/statistical tests/faults tests/fuzz

fuzz: $(DEV)
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED) --json fuzz.json

reliability: $(DEV)
	SEED=$(SEED) INPUTS=$(INPUTS) .ci/reliability

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

setup: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "distlsh needs Python 3.11 or newer as $(PYTHON); name another with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,plot]'
	@touch $@ $(RUNTIME)

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
