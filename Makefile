# make demo   environment, toy data, preparation, training, test and plots, in one go (CPU is enough)
# make test   the test suite
# make lint   ruff and mypy
# make lock   pin the newest versions that pyproject.toml and requirements/pins.txt allow (needs uv)

SHELL := /bin/bash
# Any of these will do; name another with `make PYTHON=/path/to/python3.12 demo`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DIR ?= demo

.DEFAULT_GOAL := help
.PHONY: help env demo test lint lock clean

help:
	@sed -n '1,4s/^# //p' Makefile

# Set up again only when the pinned versions change.
$(READY): requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.10, 3.11 or 3.12 found; install one or run: make PYTHON=/path/to/python' >&2; exit 1; }
	@echo 'setting up $(VENV) with $(PYTHON) (once, a few minutes)'
	@$(PYTHON) -m venv $(VENV) || { echo 'error: $(PYTHON) -m venv failed; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)

env: $(READY)

demo: $(READY)
	@PATH="$(abspath $(BIN)):$$PATH" tools/demo.sh $(DEMO_DIR)

# One thread a process: two processes with two threads each would fight for two cores.
test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check conftest.py iid_mm tools tests projects && $(BIN)/mypy

lock:
	uv pip compile pyproject.toml --extra mediapipe --extra insightface --extra onnx --extra attention --extra lmdb --extra web --extra dev --universal --python-version 3.10 \
		-c requirements/pins.txt --custom-compile-command 'make lock' -o requirements/lock.txt

clean:
	rm -rf $(VENV) $(DEMO_DIR) work_dirs
