# `make reproduce` needs nothing but python3 (3.11 or later), make and a package index.

PYTHON ?= python3
PRESET ?= quick
MODEL ?= $(if $(filter smoke,$(PRESET)),tiny-random,qwen2.5-coder-0.5b)
# More flags for `interp run`, e.g. FLAGS="--style newline" for a model without a chat template.
FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint notebooks clean

help:
	@echo "make reproduce                 install, fetch, run all experiments (quick), execute the"
	@echo "                               notebooks, print the verdicts beside the committed ones"
	@echo "make reproduce PRESET=smoke    the same on a tiny random model: shows that it works"
	@echo "make reproduce PRESET=full MODEL=smollm2-135m [FLAGS='--style newline']"
	@echo "make test                      all tests; fetches one small model (93 MB) once"
	@echo "make lint                      ruff and pyright"
	@echo "make notebooks                 execute the notebooks in place, on the results they name"
	@echo "make clean                     remove .venv and caches; results stay"

reproduce: $(INSTALLED)
	$(BIN)/interp run all --preset $(PRESET) --model '$(MODEL)' $(FLAGS)
	$(BIN)/interp notebooks --preset $(PRESET) --model '$(MODEL)'
	$(BIN)/interp report --preset $(PRESET) --model '$(MODEL)'

# One thread for each of the two workers: more of them wait for one another.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

notebooks: $(INSTALLED)
	$(BIN)/interp notebooks --in-place

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The constraints name torch without a local suffix: where an index or a folder of wheels offers the
# CPU build, pip takes it; elsewhere the ordinary build is installed.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; give it with PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
