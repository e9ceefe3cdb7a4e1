# Two commands on a fresh machine: `make demo` and `make test`. Each sets up all it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt

.PHONY: help demo test quick check docs bench env pins clean

help:  ## Say what there is (this list)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo  ## Train, prune and quantize the jet tagger, build it in C, write its report
	@$(CC) --version > /dev/null 2>&1 || scripts/system gcc=gcc,libc6-dev
	@$(BIN)/pareq demo

test:  ## Run every test, with coverage of all but the slow
	@scripts/system gcc=gcc,libc6-dev chromium
	@scripts/test all

quick:  ## Run the default tests: no slow ones, no coverage
	@scripts/test

check:  ## Format, lint, types, floors and the habits of the house
	@scripts/check

docs:  ## Build the documentation into build/docs
	@scripts/docs

BENCHMARKS := train_step quality infer_mlp infer_cnn exactness area rtl population
bench: env  ## Run benchmarks/, write benchmarks/results and the tables made from them
	@for name in $(BENCHMARKS); do \
	    echo "== benchmarks/$$name.py"; \
	    $(BIN)/python "benchmarks/$$name.py" --json "benchmarks/results/$$name.json" || exit 1; \
	done
	@$(BIN)/python scripts/tables.py

env: .venv/.dev  ## Set up .venv with every tool and extra that the tests use

.venv/.base: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d, expected 3.11 or newer; pass another: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "Setting up .venv (the first time takes minutes: torch is large)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) pip
	@touch $@

.venv/.demo: .venv/.base pyproject.toml
	@$(INSTALL) --editable '.[tasks,report,onnx]'
	@touch $@

.venv/.dev: .venv/.base pyproject.toml
	@$(INSTALL) --editable '.[all,jets,bayes,fpga,ray]' --group dev --group docs
	@$(PIP) install --quiet --no-deps finn-plus==1.6.1  # pins others of all; runs with ours
	@touch $@

pins:  ## Renew constraints.txt: the newest versions that fit, tried in an environment of their own
	@scripts/pins

clean:  ## Remove what was built and cached (.venv, runs/ and demo/ stay)
	@rm -rf build dist htmlcov src/*.egg-info .coverage .coverage.* .hypothesis \
	    .mypy_cache .ruff_cache .import_linter_cache
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
