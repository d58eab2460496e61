# `make` lists the targets. Two do everything from nothing: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= corpora
WORKDIR ?= workdir/demo
FROM_SCRATCH ?= workdir/prompts
# Cores: a device each in training, a policy each in a sweep; the products of a step are too small to
# gain from two threads.
DEVICES ?= 2
# Of `make demo`: a float recognizer, what it becomes, and the chip it is compiled for.
MODEL ?= data/pretrained/assistant
POLICIES ?= w8a8,ethos_u_8x8_16
TARGET ?= u55-128

.DEFAULT_GOAL := help
.PHONY: help doctor demo demo_from_scratch test test_all lint clean

help:  ## This list.
	@echo "make TARGET, with TARGET one of"
	@grep -hE '^[a-z_]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=$(PYTHON) DATA_DIR=$(DATA_DIR) WORKDIR=$(WORKDIR) DEVICES=$(DEVICES)"
	@echo "Then: . $(VENV)/bin/activate, and any command of README.md or TUTORIAL.md."

doctor:  ## What this machine lacks, and what to do about it.
	@$(PYTHON) doctor.py --venv=$(VENV) --data_dir=$(DATA_DIR)

demo: $(VENV)/installed  ## The shipped recognizer onto a chip: calibrated, trained through it, replayed, compiled, one table.
	@if command -v apt-get > /dev/null; then \
	  $(BIN)/python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory on_chip CONFIG=on_chip.py; \
	else \
	  echo "No apt here, so no recorded prompts: this run trains and tests on synthetic speech alone."; \
	  $(BIN)/python -m data.prepare --corpora=synthetic_speech --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory on_chip CONFIG=on_chip.py:synthetic_only; \
	fi

.PHONY: on_chip
on_chip:
	$(BIN)/python -m experiments.sweep --models=$(MODEL) --config=experiments/configs/$(CONFIG) \
	  --policies=$(POLICIES) --export=$(TARGET) --jobs=$(DEVICES) --data_dir=$(DATA_DIR) --workdir=$(WORKDIR)

demo_from_scratch: $(VENV)/installed  ## The whole way without the shipped recognizer: float training, calibration, training through integers.
	@if command -v apt-get > /dev/null; then \
	  $(BIN)/python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --synthetic_hours=4 --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory recognizer CONFIG=prompts.py; \
	else \
	  echo "No apt here, so no recorded prompts: this run trains and tests on synthetic speech alone."; \
	  $(BIN)/python -m data.prepare --corpora=synthetic_speech --synthetic_hours=4 --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory recognizer CONFIG=prompts.py:synthetic_only; \
	fi

.PHONY: environment
environment: $(VENV)/installed  ## What the commands of the README need.

.PHONY: recognizer
recognizer:  ## Training and evaluation of CONFIG alone, on prepared corpora.
	$(BIN)/python -m experiments.train --config=experiments/configs/$(CONFIG) \
	  --cpu_devices=$(DEVICES) --data_dir=$(DATA_DIR) --workdir=$(FROM_SCRATCH)
	$(BIN)/python -m experiments.evaluate --cpu_devices=$(DEVICES) --data_dir=$(DATA_DIR) --workdir=$(FROM_SCRATCH)

# Arm's converter and reference model of TOSA, which pin another NumPy than LiteRT's.
.venvs/tosa/installed:
	@echo "Installing TOSA's programs into .venvs/tosa: 360 MB, half a minute without output."
	$(PYTHON) -m venv .venvs/tosa
	.venvs/tosa/bin/python -m pip install --quiet tosa-tools==2026.8.0 tosa-converter-for-tflite==2026.2.0
	touch $@

test: $(VENV)/installed .venvs/tosa/installed lint  ## The tests, on two processes; of the slowest ones a few cases each.
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not exhaustive" --durations=40

test_all: $(VENV)/installed .venvs/tosa/installed lint  ## Every case of every test.
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The library's quick tests under each Python that this machine has, with the newest packages.
PYTHONS ?= python3.11 python3.12 python3.13
LIBRARY := tests/fixedpoint tests/accelerators tests/quant tests/layers tests/losses tests/decoding tests/serving
.PHONY: test_pythons
test_pythons:  ## The library under every Python of PYTHONS that is here.
	@for python in $(PYTHONS); do \
	  if ! $$python --version > /dev/null 2>&1; then echo "$$python: not on this machine, skipped"; continue; fi; \
	  environment=.venvs/$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  $$python -m venv $$environment && \
	  $$environment/bin/python -m pip install --quiet '.[dev]' && \
	  $$environment/bin/python -c 'import sys, jax, flax; print("Python", sys.version.split()[0], "jax", jax.__version__, "flax", flax.__version__)' && \
	  $$environment/bin/python -m pytest -q -n 2 -m "not slow" $(LIBRARY) || exit 1; \
	done

lint: $(VENV)/installed  ## Style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp is newer than requirements.txt exactly when the environment holds what is pinned there.
$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}; name one with make PYTHON=...")'
	@echo "Installing what requirements.txt pins into $(VENV): 2 GB, some minutes without output."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

clean:  ## Deletes the environments and workdir/; corpora stay.
	rm -rf $(VENV) .venvs workdir
