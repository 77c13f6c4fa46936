# dlexp: `make` lists the targets. Needs make, git and Python 3.11 to 3.13 (TensorFlow has wheels for these).

VENV ?= .venv
BIN := $(VENV)/bin
RUNS_HERE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(RUNS_HERE)' 2>/dev/null && echo $$python && break; done)
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST := TF_CPP_MIN_LOG_LEVEL=3 MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv dev quickstart test lint types contracts pytest format coverage notebooks docs integration soak bench pin clean

help: ## List the targets
	@echo "make quickstart trains a first model; make test checks everything. All targets:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.installed ## Make .venv and install dlexp into it
dev: $(VENV)/.installed-dev ## The same, with the packages for tests and linters

quickstart: venv ## Install, then train on digits: takes some seconds, downloads no data
	$(BIN)/dlexp train --flagfile=flags/quickstart.flags

test: lint types contracts pytest ## Install, then lint, types, import contracts and tests

lint: dev ## Check style and format
	$(BIN)/ruff check -q
	$(BIN)/ruff format -q --check

types: dev ## Check the types
	$(BIN)/mypy

contracts: dev ## Check the import rules: a module imports only from layers below its own
	$(BIN)/lint-imports --no-logo

pytest: dev ## Run only the tests, in two processes (each one imports TensorFlow once)
	$(PYTEST) -n 2 --dist loadfile

format: dev ## Format, and fix what the linter can fix
	$(BIN)/ruff format -q
	$(BIN)/ruff check -q --fix

coverage: dev ## Run the tests and list the lines that they do not reach
	$(PYTEST) -n 2 --dist loadfile --cov

notebooks: dev ## Execute the notebooks against a fresh store
	$(PYTEST) tests/notebooks

docs: dev ## Run every command of the README and of docs/ on small data
	$(PYTEST) -n 2 tests/docs

integration: dev ## Train on Fashion-MNIST, open the UIs in a browser (Debian: dataset-fashion-mnist, chromium)
	$(PYTEST) -n 2 --dist loadfile tests/integration

soak: dev ## Kill trainings 200 times at random instants, resume and compare them: about ten minutes
	$(BIN)/python -m tests.integration.soak --kills=200

bench: dev ## Measure against hand-written code; prints a table
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m tests.benchmarks

pin: ## Write the newest versions that work together into constraints.txt
	@$(check-python)
	$(PYTHON) -m venv --clear build/pin
	build/pin/bin/python -m pip install -qq --upgrade pip setuptools
	build/pin/bin/python -m pip install -qq '.[dev,heic,hf,ray,tfds,wandb]'
	{ echo '# All that dlexp[dev,heic,hf,ray,tfds,wandb] brings, written by `make pin`; every install in the Makefile keeps to it.'; \
	  build/pin/bin/python -m pip freeze --all | grep -vE '^(dlexp|pip)( |=)'; } > constraints.txt

clean: ## Remove caches and build products; keep .venv and the runs
	rm -rf build dist *.egg-info .coverage .hypothesis .*_cache
	find dlexp tests -name __pycache__ -prune -exec rm -rf {} +

# bin/pip is the last file that venv creates: an interrupted environment is created again.
$(BIN)/pip:
	@$(check-python)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	@echo "Installing dlexp into $(VENV): TensorFlow is large, this takes some minutes the first time."
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/pip setup.cfg pyproject.toml constraints.txt
	@echo "Installing dlexp[dev] into $(VENV): TensorFlow is large, this takes some minutes the first time."
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed

define check-python
test -n "$(PYTHON)" && $(PYTHON) -c '$(RUNS_HERE)' 2>/dev/null || { \
	echo "dlexp needs Python 3.11, 3.12 or 3.13 with venv, and $(if $(PYTHON),$(PYTHON) is not one,none is on the PATH):" \
		"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
endef
