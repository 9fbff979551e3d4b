# The verbs of this project; `make` alone lists them.
#
# Everything lives in .venv, made by the first verb that needs it: two stamp files inside say what is installed
# (`runtime` to run, `dev` to test), so that a second call costs nothing. Packages come from uv.lock, never newer.

PYTHON ?= python3
UV_VERSION := 0.13.9

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SYNC := VIRTUAL_ENV= UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy $(UV) sync --quiet --frozen

# What pytest, `clusterodm up` or the benchmarks get besides: make test ARGS="-k telnet"
ARGS ?=
# How many tests run side by side. Those that start processes wait for nine tenths of their time; those that do not compute, and more of
# them at once would only collect more often. JOBS=0: one after the other, in this process
JOBS ?= 5
FAST_JOBS ?= $(if $(filter-out 5,$(JOBS)),$(JOBS),3)

# Tests start hundreds of processes: where Python may not write byte code, each would compile all of ours anew, a third of its start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
ALL_TESTS = $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder
FAST_TESTS = $(PYTEST) -n $(FAST_JOBS) -m "not slow" tests/unit
RAN := $(CURDIR)/data/coverage
measured = $(BIN)/python tests/measuring/mark.py $(RAN) && \
	{ RAN_FOLDER=$(RAN) PYTHONPATH=$(CURDIR)/tests/measuring PYTEST_ADDOPTS="-p marked_first" $(1) $(ARGS); status=$$?; $(BIN)/python tests/measuring/table.py $(RAN); exit $$status; }

.DEFAULT_GOAL := help
.PHONY: help run dev test test-fast coverage check format docs fuzz bench profile simulate lock install clean

help: ## List the verbs
	@echo 'make <verb> [ARGS="..."]'
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

##@ A day's work

dev: $(VENV)/.dev ## Start a whole cluster with two simulated nodes; a service starts again when its code is saved: make dev ARGS="--port 3100"
	@$(BIN)/python tools/dev.py $(ARGS)

test-fast: $(VENV)/.dev ## Run, in a minute or two, the tests that start no process: at every save
	@$(FAST_TESTS) tests/architecture $(ARGS)

format: $(VENV)/.dev ## Bring the code into the house format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev ## Write anew the documents that are made from the code (tests say when they are stale)
	@$(BIN)/python docs/write_subjects.py
	@$(BIN)/python docs/write_service_map.py
	@$(BIN)/python docs/write_rooms.py
	@$(BIN)/python docs/write_logs.py
	@$(BIN)/python docs/write_metrics.py
	@$(BIN)/python docs/write_decisions.py

check: $(VENV)/.dev ## Format, lint, types, the architecture's contracts, dead code, stale generated documents; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(PYTEST) -q -n 0 -k "list_of or map_of or drawings_of or index_of" tests/architecture/test_docs.py

test: $(VENV)/.dev ## Run every test (browser and compose tests too, where the machine can); COVERAGE=yes: see coverage
	@$(if $(COVERAGE),$(call measured,$(ALL_TESTS)),$(ALL_TESTS) $(ARGS))

##@ Looking around

run: $(VENV)/.runtime ## Start a whole cluster with two simulated nodes: http://localhost:3000 (Ctrl-C stops it)
	@$(BIN)/clusterodm up --demo $(ARGS)

coverage: $(VENV)/.dev ## Run every test, and print how much of services and libs they and the unit tests ran through: make coverage ONLY=unit
	@$(call measured,$(if $(filter unit,$(ONLY)),$(FAST_TESTS),$(ALL_TESTS)))

fuzz: $(VENV)/.fuzz ## Fuzz both roles of libs/http1 for longer than `make test` does: make fuzz MINUTES=10 ROLE=client
	@mkdir -p data/fuzz/server data/fuzz/client
	@for role in $(or $(ROLE),server client); do PYTHONPATH=. $(BIN)/python tests/fuzz/run.py $$role -max_len=4096 \
		-max_total_time=$$(( $(or $(MINUTES),2) * 60 )) -artifact_prefix=data/fuzz/ $(ARGS) data/fuzz/$$role || exit 1; done

bench: $(VENV)/.bench ## Measure every path side by side with its peers: make bench ONLY=downloads ARGS=--write
	@$(COMPILED) # as an installed package is
	@$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

profile: $(VENV)/.bench ## Draw flame graphs of every path into docs/plots: make profile ONLY=uploads
	@$(BIN)/python -m benchmarks.flames $(ONLY) $(ARGS)

simulate: $(VENV)/.bench ## Play scheduler and autoscaler in simulated time against the best possible: make simulate ARGS=--write
	@$(BIN)/python -m benchmarks.simulate $(ARGS)

##@ What is installed

install: $(VENV)/.runtime ## Install what running needs into .venv, and nothing else

lock: $(UV) ## Bring uv.lock up to pyproject.toml: make lock ARGS=--upgrade takes newer packages
	@VIRTUAL_ENV= $(UV) lock $(ARGS)

clean: ## Remove .venv and every cache; data/ stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find services libs deploy tests docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- how .venv comes about -------------------------------------------------------------------------------------------

$(UV):
	@command -v $(PYTHON) >/dev/null \
		|| { echo "clusterodm needs Python 3.11 or newer: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "clusterodm needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V): make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# --inexact: what the tests need stays when it is there already.
# What running needs is compiled here, once: a start that compiles takes three times as long, and where Python may not write
# beside its modules it would compile at each.
RUNTIME := $(SYNC) --no-dev --inexact --compile-bytecode
COMPILED := $(BIN)/python -m compileall -q services libs deploy

$(VENV)/.runtime: pyproject.toml uv.lock | $(UV)
	@echo "Installing the packages that running needs ..."
	@$(RUNTIME)
	@$(COMPILED)
	@touch $@

$(VENV)/.dev: pyproject.toml uv.lock | $(UV)
	@echo "Installing the packages that testing needs ..."
	@test -e $@ || $(RUNTIME)
	@$(SYNC) --inexact
	@$(COMPILED)
	@touch $(VENV)/.runtime $@

$(VENV)/.bench: pyproject.toml uv.lock | $(UV)
	@echo "Installing the packages that measuring and drawing need ..."
	@$(SYNC) --inexact --group bench
	@touch $(VENV)/.runtime $(VENV)/.dev $@

$(VENV)/.fuzz: pyproject.toml uv.lock | $(UV)
	@echo "Installing what fuzzing needs ..."
	@$(SYNC) --inexact --group fuzz
	@touch $(VENV)/.runtime $(VENV)/.dev $@
