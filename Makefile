# make run | test | lint | bench | chaos: each makes .venv first, with pinned versions.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test lint bench chaos e2e format clean

run: $(STAMP)
	$(BIN)/crawler demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

e2e: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[e2e]'
	$(BIN)/python -m pytest -m e2e

chaos: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[e2e]'
	$(BIN)/python -m pytest -m "hypothesis and not e2e" --hypothesis-profile=search
	$(BIN)/python -m pytest -m "chaos or e2e" -s

bench: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "crawler needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
