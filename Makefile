# Everything works from a fresh clone with Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

QUICK = not slow and not torch and not corruptions and not browser and not stores and not engines and not docs and not real_data

# bytecode is written, or each process compiles what it imports; BLAS leaves the cores to the workers
PYTEST = PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test slow docs bench lint faults reliability clean

$(VENV)/.tested: pyproject.toml  # what the quick suite needs; bytecode is made where it is used
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --upgrade pip  # a new one resolves in half the time
	$(BIN)/python -m pip install --quiet --no-compile -e ".[test]"
	touch $@

$(VENV)/.installed: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet -e ".[dev,demo]"
	touch $@

demo: $(VENV)/.installed  ## audit real pictures and names with the built-in model
	$(BIN)/isthmus demo --out isthmus-demo

test: $(VENV)/.tested  ## the quick suite: no network, no torch, no private data
	$(PYTEST) -n auto --dist worksteal -m "$(QUICK)" --assert=plain -p tests.lines || \
		{ $(PYTEST) -m "$(QUICK)" --last-failed --last-failed-no-failures none; exit 1; }

slow: $(VENV)/.installed  ## what the quick suite leaves out for its length, and needs nothing more
	$(PYTEST) -n auto --dist worksteal -m "$(subst not slow,slow,$(QUICK))"

docs: $(VENV)/.installed  ## the site: docs/_site/index.html, offline; any warning is an error
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs docs/_site

bench: $(VENV)/.installed  ## side-by-side ratios as JSON on standard output
	@$(BIN)/python -m bench

lint: $(VENV)/.installed  ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: $(VENV)/.installed  ## plant faults one by one and see that a test catches each
	$(BIN)/python tests/mutants.py

reliability: $(VENV)/.installed  ## kills, two runs at once, full disk, hostile words, strace
	PYTHONPATH=tests $(BIN)/python -m campaigns --write

clean:
	rm -rf $(VENV) isthmus-demo isthmus-report
