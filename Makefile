.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# TORCH=cpu pins the CPU-friendly set; TORCH=cuda takes torch as the index offers it. Another value
# makes the environment anew, so give the same one to every target.
TORCH ?= cpu
# EXTRAS=dev,readers brings the programs that open exported files too; CI runs their tests.
EXTRAS ?= dev
CORE := $(VENV)/installed-core-$(TORCH)
DEV := $(VENV)/installed-$(EXTRAS)-$(TORCH)
.PHONY: help quickstart test test-slow test-all check fix bench golden fuzz lock clean

help: ## show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

quickstart: $(CORE) ## install, train on Python's own documentation, show neighbors
	$(BIN)/w2v train --config quickstart.yaml --force
	@for word in float32 lowercase thread socket; do \
	  echo; echo "$$ w2v similar $$word -k 4"; $(BIN)/w2v similar $$word -k 4 --run runs/quickstart; done

test: $(DEV) ## the quick test suite (needs neither network nor GPU)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(DEV) ## the tests that `make test` leaves out
	$(BIN)/python -m pytest -m slow

test-all: $(DEV) ## every test
	$(BIN)/python -m pytest

check: $(DEV) ## lint, formatting and types, as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(DEV) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The reviews of the test data where there are any; ARGS goes to the comparison: ARGS="--peer ...".
CORPUS ?= $(if $(W2V_TEST_DATA),$(wildcard $(W2V_TEST_DATA)/imdb.txt.xz))
bench: $(DEV) ## speed, memory, quality; CORPUS=FILE compares with gensim on that text
	$(BIN)/python scripts/bench.py
	$(if $(CORPUS),$(BIN)/python scripts/bench.py --corpus "$(CORPUS)" $(ARGS))

golden: $(DEV) ## rewrite tests/golden after a change that is meant to change numbers
	$(BIN)/python -m pytest tests/test_golden.py --write-golden

fuzz: $(DEV) ## damaged inputs to every reader; ARGS="yaml zip --inputs 10000000"
	$(BIN)/python scripts/fuzz.py $(ARGS)

lock: $(DEV) ## write locks/ anew, after a change of constraints.txt or pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/python scripts/lock.py

clean: ## remove the virtual environment and the caches, never data/ or runs/
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/constraints-$(TORCH).txt: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "w2v needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	@if [ "$(TORCH)" = cpu ]; then cp constraints.txt $@; else grep -v '^torch==' constraints.txt > $@; fi

# Every file has a digest in a lock, but torch's and what its CUDA build brings: which build it is,
# the index decides. Then w2v itself: with --no-index, what a lock lacks ends it and is not fetched.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --no-deps --require-hashes --only-binary :all:
TORCHED := $(INSTALL) --only-binary :all: torch
OURS := $(INSTALL) --no-index --no-build-isolation
COMMA := ,
LOCKS := $(foreach name,core $(subst $(COMMA), ,$(EXTRAS)),locks/$(name).txt)

$(CORE): $(VENV)/constraints-$(TORCH).txt pyproject.toml locks/core.txt
	$(LOCKED) -r locks/core.txt
	$(TORCHED) --constraint $<
	$(OURS) --constraint $< --editable .
	@touch $@

$(DEV): $(VENV)/constraints-$(TORCH).txt pyproject.toml $(LOCKS)
	$(LOCKED) $(LOCKS:%=-r %)
	$(TORCHED) --constraint $<
	$(OURS) --constraint $< --editable '.[$(EXTRAS)]'
	@touch $@ $(CORE)
