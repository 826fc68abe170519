# Two commands do everything: `make book` and `make test`. Both make the environment .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EDITION ?= pocket
PAGES ?=
MINE ?=
NBVAL := --nbval --nbval-current-env

.DEFAULT_GOAL := help
.PHONY: help book test coverage page notebooks student lab wheel bench scaling results compare home colab clean

help:
	@echo 'make book                  the site in _build/html, from the stored outputs'
	@echo 'make book EDITION=full     the same, every page executed on the full edition first'
	@echo 'make test                  everything that is checked: code, book, pages'
	@echo 'make coverage              which lines of the package no unit test runs'
	@echo 'make page PAGE=03          the guards and the strict comparison of one page'
	@echo 'make notebooks             text -> executed notebooks; some only: PAGES="03 04"'
	@echo '                           new words, outputs as stored: PAGES="03 --text"'
	@echo 'make student               copies of the pages without solutions, in student/'
	@echo 'make lab                   JupyterLab, the two halves of each page kept together'
	@echo 'make wheel                 the package as one file in dist/, to upload to Colab'
	@echo 'make bench                 the benchmarks and benchmarks.md; minutes only: QUICK=1'
	@echo 'make scaling               measures the speeds that page 13 shows'
	@echo 'make results               runs the pages and writes results.md'
	@echo 'make results MINE=--mine   a run of your own, on the full edition, in my-results/'
	@echo 'make compare               trains all networks of page 11 and writes their table'
	@echo 'make colab                 two pages in the image that Colab runs; needs docker'
	@echo 'make home REPO=owner/name  writes the home of the repository wherever it is needed'
	@echo 'make clean                 removes what the others built, but for .venv'
	@echo 'PYTHON=python3.12          with any of these: the interpreter that makes .venv'

# The stamp is younger than what it was made from, so the environment is made once.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "dlfb needs Python 3.11 or newer, and '$(PYTHON)' is not:" \
	    "$$($(PYTHON) --version 2>&1). Name another one, such as: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(READY)
	$(BIN)/python tools/build_book.py --edition $(EDITION)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/python tools/build_book.py
	$(BIN)/pytest tests notebooks $(NBVAL) --durations=12

coverage: $(READY)
	$(BIN)/pytest tests --cov --cov-report=term-missing:skip-covered

page: $(READY)
	$(BIN)/pytest tests/notebooks/test_pages.py notebooks/$(PAGE)*.ipynb $(NBVAL) -k '$(PAGE)'

notebooks: $(READY)
	$(BIN)/python tools/run_pages.py $(PAGES)

student: $(READY)
	$(BIN)/python tools/student.py

# JupyterLab shows drawings in the stored outputs only of notebooks that it trusts.
lab: $(READY)
	$(BIN)/jupyter trust notebooks/*.ipynb
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

# `build` would bring files along that were deleted since.
wheel: $(READY)
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

bench: $(READY)
	$(BIN)/python tools/bench.py $(if $(QUICK),--quick)

scaling: $(READY)
	$(BIN)/python -m tools.scaling

results: $(READY)
	$(BIN)/python tools/results.py $(MINE)

compare: $(READY)
	$(BIN)/python tools/compare_models.py

colab:
	tools/colab_image.sh

home:
	$(PYTHON) tools/home.py $(REPO)

clean:
	rm -rf _build build dist student *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
