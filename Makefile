# make demo   a plan, its certificate and a map, from a bare machine
# make demo-bubenec   the same for a district of Prague on a synthetic network
# make test   every test, the notebooks and the examples
# make lint   the quality gates
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo demo-bubenec test lint clean

demo: .venv/installed
	$(BIN)/gridsite demo

demo-bubenec: .venv/installed
	$(BIN)/gridsite demo --place bubenec

test: .venv/installed-dev
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --nbmake notebooks -o filterwarnings=default
	$(BIN)/python examples/own_feeder_and_loads.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/numpydoc lint $$(git ls-files 'gridsite/*.py')
	$(BIN)/codespell README.md CHANGELOG.md docs gridsite networks examples

.venv/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip --disable-pip-version-check install --quiet "pip>=25.1"
	touch $@

.venv/installed: .venv/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) -e '.[simbench]' --group test --group lint
	touch $@

clean:
	rm -rf .venv out
