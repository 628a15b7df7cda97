# make demo   sets up, and merges NASNet-A-Large's Slices with the report on the screen
# make test   sets up, and runs the tests
# make check  the tests, the linters and the types
# make docs   writes docs/passes/ from the docstrings

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NASNET = build/nasnetlarge.onnx

.PHONY: demo test check docs lint

demo: $(VENV)/.installed $(NASNET)
	$(BIN)/onnxfuse apply $(NASNET) -o build/nasnetlarge_merged.onnx -p merge-sliced

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2

check: test lint

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

$(NASNET): examples/nasnetlarge/nasnetlarge.onnx | $(VENV)/.installed
	mkdir -p $(@D)
	$(BIN)/onnxfuse fill $< -o $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-test
