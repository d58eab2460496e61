# Two commands, both from nothing: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= corpora
WORKDIR ?= workdir/prompts
# A device a core: the step's products are too small to gain from two threads.
DEVICES ?= 2

.PHONY: demo test lint clean

demo: $(VENV)/installed  ## Corpora, training, accelerator-aware training, streaming evaluation, report.
	@if command -v apt-get > /dev/null; then \
	  $(BIN)/python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --synthetic_hours=4 --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory recognizer CONFIG=prompts.py; \
	else \
	  echo "No apt here, so no recorded prompts: this run trains and tests on synthetic speech alone."; \
	  $(BIN)/python -m data.prepare --corpora=synthetic_speech --synthetic_hours=4 --data_dir=$(DATA_DIR) && \
	  $(MAKE) --no-print-directory recognizer CONFIG=prompts.py:synthetic_only; \
	fi

.PHONY: recognizer
recognizer:
	$(BIN)/python -m experiments.train --config=experiments/configs/$(CONFIG) \
	  --cpu_devices=$(DEVICES) --data_dir=$(DATA_DIR) --workdir=$(WORKDIR)
	$(BIN)/python -m experiments.evaluate --cpu_devices=$(DEVICES) --data_dir=$(DATA_DIR) --workdir=$(WORKDIR)

test: $(VENV)/installed lint  ## Every test, the slow ones too, on two processes.
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp is newer than requirements.txt exactly when the environment holds what is pinned there.
$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

clean:
	rm -rf $(VENV) workdir
