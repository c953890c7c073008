# Everything runs from a virtual environment that these targets make: a fresh machine needs Python >= 3.11 and PyPI.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

# where GLUE is: hub, or a directory; and how many runs at a time
DATA ?= hub
WORKERS ?= 2

.PHONY: demo test chaos check tables bench bench-gpu clean

demo: .venv/demo
	$(BIN)/sparsegrad run demo --output results/demo
	$(BIN)/sparsegrad report results/demo

# the files that take longest come first (tests/conftest.py), and each is done by one process
test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# kills parents and workers of a grid 20 times at random: it must end as a calm one (minutes)
chaos: .venv/dev
	$(BIN)/python -m pytest -m chaos -s tests/grid/test_chaos.py

# a small real model on real GLUE, four methods, three seeds: hours on a CPU; goes on where it was stopped
tables: .venv/demo
	$(BIN)/sparsegrad run small-glue --data $(DATA) --workers $(WORKERS)
	$(BIN)/sparsegrad run small-figures --data $(DATA)
	$(BIN)/sparsegrad report --compare paper --format md,latex,html,csv

# style, format and types
check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# speed and memory of every method, on a CPU: fewer blocks (about ten minutes)
bench: .venv/demo
	$(BIN)/sparsegrad bench --model roberta-base --init random --layers 2 --batch-size 16 --length 128

# the same on a GPU, whole models: every batch size and precision (PYTHON's torch must see it)
bench-gpu: .venv/demo
	for model in roberta-base roberta-large; do for batch in 16 32; do for precision in fp32 tf32 bf16; do \
	  $(BIN)/sparsegrad bench --model $$model --init random --batch-size $$batch --length 128 \
	    --precision $$precision --device cuda || exit; \
	done; done; done
	$(BIN)/sparsegrad bench calibrate --model roberta-base --init random --device cuda

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
