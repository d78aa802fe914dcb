# Two commands on a fresh machine with Python 3.10-3.12, git and make: `make train` and `make test`.
# Each sets up .venv first, once: afterwards nothing is installed or asked of the network until the pins change.

PYTHON ?= python3
ARGS ?=

PY := .venv/bin/python
STAMP := .venv/.installed
USUAL := not slow and not learning and not gpu
# A process a core, whole files to each, for their fixtures are costly.
SPREAD := -n auto --dist loadscope
SUPPORTED := import sys; (3, 10) <= sys.version_info[:2] <= (3, 12) or sys.exit("rlgan runs on Python 3.10, 3.11 or \
3.12, and %s is %d.%d. Name another: make setup PYTHON=python3.11" % ((sys.executable,) + sys.version_info[:2]))

# Left over from another project, these would put its packages before ours, or ours outside .venv.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

.PHONY: setup train check test test-all lint format bench docs clean help
.DEFAULT_GOAL := help

setup: $(STAMP) ## install rlgan and its tools, at the tested versions, into .venv

train: $(STAMP) ## run the main job; ARGS="seqgan --seed 1" chooses another
	@$(PY) rlgan/train.py $(ARGS)

check: lint ## the inner loop: lint and the fast tests (name files to pytest for less)
	$(PY) -m pytest -q $(SPREAD) -m "$(USUAL) and not ray and not heavy"

test: $(STAMP) ## everything an offline CPU finishes in minutes, real Ray included
	@$(PY) -m tests -m "$(USUAL)" $(SPREAD)

test-all: $(STAMP) ## the slow, learning and GPU tests too
	$(PY) -m pytest -m ""

lint: $(STAMP) ## what must hold before a commit: rules, layout, types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP) ## mend what can be mended by itself
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(STAMP) ## speed, as ratios measured in one process; a quarter of an hour with ARGS="--full-epoch"
	$(PY) -m benchmarks.speed $(ARGS)

docs: $(STAMP) ## the site, into build/docs; what leads nowhere and what is undocumented fails it
	$(PY) -m sphinx -b html -c docs -d build/doctrees -W --keep-going -q . build/docs
	@echo "file://$(CURDIR)/build/docs/index.html"

clean: ## remove what tools left behind; runs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

# The stamp is the last thing written, so an interrupted set-up is done again. A .venv with a supported Python and pip
# is kept, whoever made it; any other is made anew.
$(STAMP): pyproject.toml constraints.txt
	@$(PY) -c 'import pip; $(SUPPORTED)' 2>/dev/null || { $(PYTHON) -c '$(SUPPORTED)' && $(PYTHON) -m venv --clear .venv; }
	$(PY) -m pip install -c constraints.txt -e '.[dev]'
	@touch $@
