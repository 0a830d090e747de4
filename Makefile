# The two commands of the README, and what contributors run. On Windows: see "By hand" in the README.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check bench docs

run: $(VENV)/runtime
	$(BIN)/streamlit run app.py

test: $(VENV)/development
	$(BIN)/python -m pytest -n auto --dist loadgroup

check: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/development
	$(BIN)/python benchmarks/compare.py
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/batch.py

docs: $(VENV)/development
	$(BIN)/python docs/make.py

$(VENV)/runtime: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/development: requirements.txt requirements-cluster.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/runtime
