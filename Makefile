# Thin names for real commands. `make up` and `make test` install what is missing first.
.PHONY: up down test check form types arrows stubs unit integration e2e chaos fuzz bench proto setup

BIN := .venv/bin
# What Python compiled, and pytest rewrote, is kept: each of several workers would do it again at every run.
export PYTHONDONTWRITEBYTECODE :=
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

up: setup  ## A cluster on this machine, with the example answering through its Service.
	@$(SUDO) deploy/examples/run.sh

down: setup  ## Stop it; the data stays (steer down --purge deletes it).
	@$(SUDO) $(BIN)/steer down

test: setup check integration e2e  ## Everything.

check: setup form  ## Format, lint, types, import arrows, unit tests and simulations: under two minutes.
	@$(MAKE) --no-print-directory -j 4 types arrows stubs unit

form:
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types:
	@$(BIN)/mypy --no-error-summary .

arrows:
	@$(BIN)/lint-imports --no-cache >/tmp/lint-imports.$$$$ || { cat /tmp/lint-imports.$$$$; rm -f /tmp/lint-imports.$$$$; exit 1; }; rm -f /tmp/lint-imports.$$$$

stubs:
	@$(BIN)/python -m deploy.stubs --check

unit:  # simulations first: they are the longest, and no worker should be left with one at the end
	@$(BIN)/pytest -n auto --dist worksteal tests/simulation tests/unit

# Files are given out in the order of their names: left to itself xdist keeps those of one long test for the end.
BY_FILE = --dist loadfile --no-loadscope-reorder

integration: setup  ## Real processes and sockets on this machine.
	@$(BIN)/pytest -n 3 $(BY_FILE) tests/integration

e2e: setup  ## A whole cluster and stock kubectl; needs root.
	@$(SUDO) $(BIN)/pytest -n 2 $(BY_FILE) tests/e2e

chaos: setup  ## Ten minutes of faults against a store of its own, and whether it would catch a broken one.
	@$(SUDO) $(BIN)/pytest -m soak tests/integration tests/e2e/test_store_replicas.py
	@$(SUDO) $(BIN)/steer chaos store --rounds 1000 --seconds 600

fuzz: setup  ## Four minutes of random requests at an API server of its own; goes on where the last sitting left off.
	@$(BIN)/python -m tests.fuzz --minutes 4 --resume build/fuzz.json --cases build/fuzz-cases

bench: setup  ## Measure: how fast a pod runs, memory, and the start (on a cluster of its own).
	@$(SUDO) $(BIN)/steer up
	@$(SUDO) $(BIN)/steer bench pods
	@$(SUDO) $(BIN)/steer bench memory
	@$(SUDO) $(BIN)/steer bench up

proto: setup  ## Make the gRPC stubs again after a change in proto/.
	@$(BIN)/python -m deploy.stubs

setup:
	@deploy/setup.sh
