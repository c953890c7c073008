# Everything runs from a virtual environment that these targets make: a fresh machine needs Python >= 3.11 and PyPI.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

# where GLUE is: hub, or a directory; and how many runs at a time
DATA ?= hub
WORKERS ?= 2

# where bench-gpu writes
GPU ?= results/gpu

.PHONY: demo test clusters chaos check tables bench bench-gpu clean

demo: .venv/demo
	$(BIN)/sparsegrad run demo --output results/demo
	$(BIN)/sparsegrad report results/demo

# the files that take longest come first (tests/conftest.py), and each is done by one process
test: .venv/dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# the pools of Ray and SLURM, each on a cluster of this machine (two minutes); without SLURM its tests are skipped
clusters: .venv/dev
	$(BIN)/python -m pytest -m cluster tests/grid

# kills parents and workers of a grid 20 times at random: it must end as a calm one (minutes)
chaos: .venv/dev
	$(BIN)/python -m pytest -m chaos -s tests/grid/test_chaos.py

# a small real model on real GLUE, four methods, three seeds: hours on a CPU; goes on where it was stopped
tables: .venv/demo
	$(BIN)/sparsegrad run small-glue --data $(DATA) --workers $(WORKERS)
	$(BIN)/sparsegrad run small-figures --data $(DATA)
	$(BIN)/sparsegrad report --compare paper --baseline lora --format md,latex,html,csv

# style, format and types
check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# speed and memory of every method, on a CPU: fewer blocks (about ten minutes)
bench: .venv/demo
	$(BIN)/sparsegrad bench --model roberta-base --init random --layers 2 --batch-size 16 --length 128

# everything that a GPU is to answer, in 8 minutes: PYTHON's torch must see it, PYTHON needs the packages of
# pyproject.toml; WHEELS: a folder with those that it lacks, for a machine without network
bench-gpu:
	$(if $(WHEELS),$(PYTHON) -m pip install --quiet --no-index --find-links $(WHEELS) $(WHEELS)/*.whl)
	PYTORCH_ALLOC_CONF=expandable_segments:True $(PYTHON) -m sparsegrad_cli bench gpu --output $(GPU)
	$(PYTHON) -m sparsegrad_cli report $(GPU)

clean:
	rm -rf .venv

.venv/torch:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	touch $@

.venv/demo: .venv/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

.venv/dev: .venv/demo
	$(BIN)/python -m pip install --quiet --editable '.[demo,dev]'
	touch $@
