# groundlake. `make` alone lists the targets. Everything lives in .venv; nothing is installed globally.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin

# Which torch: default (what your pip configuration offers), cpu (needs TORCH_INDEX), system (a vendor's torch, as on
# a Jetson). The environment remembers the choice.
TORCH ?= $(or $(shell cat .venv/.torch 2>/dev/null),default)
SWEEP ?= quick
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ "$$n" -lt 4 ] && echo "$$n" || echo 4)
ARGS ?=

# Values reach the shell as environment variables, unexpanded, so that no character in them can break a recipe.
override HW := $(value HW)
override FROM := $(value FROM)
override MODELS := $(value MODELS)
override PRECISIONS := $(value PRECISIONS)
override CALIBRATION_SET := $(value CALIBRATION_SET)
override EVALUATION_SET := $(value EVALUATION_SET)
override EVALUATION_DATA := $(value EVALUATION_DATA)
override BATCHES := $(value BATCHES)
override DEVICE := $(value DEVICE)
override REPEAT := $(value REPEAT)
override SWEEP := $(value SWEEP)
override FORCE := $(value FORCE)
override TORCH_INDEX := $(or $(value TORCH_INDEX),$(shell cat .venv/.torch-index 2>/dev/null))
export HW FROM MODELS PRECISIONS CALIBRATION_SET EVALUATION_SET EVALUATION_DATA BATCHES DEVICE REPEAT SWEEP FORCE TORCH TORCH_INDEX

ifneq ($(filter-out default cpu system,$(TORCH)),)
$(error TORCH=$(TORCH) is unknown; take default, cpu or system)
endif

# On a terminal pip shows its progress, elsewhere only what went wrong.
PIP := $(BIN)/python -m pip install $(shell [ -t 2 ] || echo -q) -c .venv/constraints.txt
STAMP := .venv/.setup-$(TORCH)
SPARK_STAMP := .venv/.spark
READERS_STAMP := .venv-readers/.installed
PEERS_STAMP := .venv-peers/.setup
PYTEST := $(BIN)/python -m pytest -n $(JOBS)
CATEGORIES := unit contract property functional conformance gpu

.PHONY: help setup ingest views test $(CATEGORIES:%=test-%) test-slow test-all test-chaos test-readers coverage check fix docs bench bench-scale wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile
	@printf '\n%s\n' \
	  'make ingest takes HW= FROM= MODELS= PRECISIONS= BATCHES= DEVICE= REPEAT= SWEEP=quick|full FORCE=1, and for int8' \
	  'CALIBRATION_SET= EVALUATION_SET= EVALUATION_DATA=' \
	  'make setup takes TORCH=default|cpu|system and TORCH_INDEX= (for cpu); the tests take ARGS= for pytest and JOBS='

setup: $(STAMP) ## create .venv with everything pinned (says first how much it downloads)

# torch goes first and alone, at its exact pin, so that nothing installed later can pull another build of it. A torch
# of the system has its own version, so its pins are left out there.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is missing or older than 3.10; name another one: make setup PYTHON=python3.11" >&2; exit 2; }
	@if [ "$$TORCH" = cpu ] && [ -z "$$TORCH_INDEX" ]; then \
	  echo "TORCH=cpu: no package index for torch's CPU build was named (TORCH_INDEX is empty)." >&2; \
	  echo "Take the CPU index URL from PyTorch's \"Get started\" page (the one after --index-url), then run" >&2; \
	  echo "  make setup TORCH=cpu TORCH_INDEX=<that URL>" >&2; exit 2; fi
	@if [ "$$TORCH" = system ] && ! $(PYTHON) -c 'import torch, torchvision' 2>/dev/null; then \
	  echo "TORCH=system: $(PYTHON) cannot import torch and torchvision, and nothing was changed." >&2; \
	  echo "Install the vendor's builds for it first, or take TORCH=default or TORCH=cpu" >&2; exit 3; fi
	@if [ "$$(cat .venv/.torch 2>/dev/null)" != "$$TORCH" ]; then \
	  [ "$$TORCH" = system ] && site=--system-site-packages || site=; \
	  $(PYTHON) -m venv --clear $$site .venv && echo "$$TORCH" > .venv/.torch; fi
	@[ "$$TORCH" = system ] && leave_out='^torch(vision)?==' || leave_out='^$$'; \
	  grep -vE "$$leave_out" constraints.txt > .venv/constraints.txt
	@$(BIN)/python -m pip install -q -c .venv/constraints.txt pip
	@case "$$TORCH" in \
	system) echo "setup: downloads about 390 MB into .venv; torch is the one of this system" ;; \
	cpu) echo "setup: downloads about 590 MB into .venv, 190 MB of them torch's CPU build (less what pip has cached)" ;; \
	default) plan=$$($(BIN)/python -m pip install -q --dry-run --report - -c .venv/constraints.txt torch) || exit 1; \
	  case "$$plan" in \
	  *'"name": "nvidia-'*) echo "setup: downloads about 3 GB into .venv, 2.6 GB of them torch with its CUDA libraries (less"; \
	    echo "  what pip has cached); without an NVIDIA GPU, TORCH=cpu takes 590 MB in all" ;; \
	  *'"name": "torch"'*) echo "setup: downloads about 590 MB into .venv, 190 MB of them torch (less what pip has cached)" ;; \
	  *) echo "setup: downloads at most 390 MB into .venv; torch is there already" ;; esac ;; esac
	@case "$$TORCH" in \
	default) $(PIP) torch torchvision ;; \
	cpu) echo "$$TORCH_INDEX" > .venv/.torch-index; $(PIP) --no-deps --index-url "$$TORCH_INDEX" torch torchvision ;; \
	system) $(BIN)/python -c 'import torch, torchvision' || { \
	    echo "TORCH=system: $(PYTHON) cannot import torch and torchvision; install the vendor's builds first" >&2; exit 3; } ;; esac
	@[ "$$TORCH" = system ] && extras= || extras=measure,transition,; \
	  $(PIP) -e ".[$${extras}calibration,quantization,transition-zh,transformers,experiment,plot,s3,dev]" nvidia-ml-py duckdb-cli
	@touch $@
	@echo "setup: done; try $(BIN)/lake --help"

$(SPARK_STAMP): $(STAMP)
	@echo "setup: downloads about 440 MB more for Spark (less what pip has cached)"
	@$(PIP) -e '.[spark]'
	@touch $@

# Notebooks and data browsers want other versions of what groundlake uses.
$(READERS_STAMP):
	@$(PYTHON) -m venv .venv-readers
	@.venv-readers/bin/pip install --quiet harlequin==2.17.0 marimo==0.25.2 polars pyarrow
	@touch $@

# Exit code 1 of `lake ingest` means that it ran and a part was set aside: the summary is still worth showing, and the
# code is handed on. Everything else ends here.
ingest: $(STAMP) ## measure this machine (or import FROM=), write the lake, show model_summary
	@from=$$FROM; \
	if [ -z "$$from" ] && [ -n "$$HW" ] && [ -d "incoming/$$HW" ]; then from=incoming/$$HW; fi; \
	set --; \
	[ -z "$$HW" ] || set -- "$$@" "--hw=$$HW"; \
	if [ -n "$$from" ]; then set -- "$$@" "--from=$$from"; else set -- "$$@" "--sweep=$$SWEEP"; fi; \
	[ -z "$$MODELS" ] || set -- "$$@" "--models=$$MODELS"; \
	[ -z "$$PRECISIONS" ] || set -- "$$@" "--precisions=$$PRECISIONS"; \
	[ -z "$$CALIBRATION_SET" ] || set -- "$$@" "--calibration-set=$$CALIBRATION_SET"; \
	[ -z "$$EVALUATION_SET" ] || set -- "$$@" "--evaluation-set=$$EVALUATION_SET"; \
	[ -z "$$EVALUATION_DATA" ] || set -- "$$@" "--evaluation-data=$$EVALUATION_DATA"; \
	[ -z "$$BATCHES" ] || set -- "$$@" "--batches=$$BATCHES"; \
	[ -z "$$DEVICE" ] || set -- "$$@" "--device=$$DEVICE"; \
	[ -z "$$REPEAT" ] || set -- "$$@" "--repeat=$$REPEAT"; \
	[ -z "$$FORCE" ] || set -- "$$@" --force; \
	$(BIN)/lake ingest "$$@"; code=$$?; \
	[ $$code -le 1 ] || exit $$code; \
	$(BIN)/lake sql "select * from model_summary" || exit $$?; \
	root=$${LAKE_ROOT:-lake}; root=$${root%/}; \
	printf '\nThe data is in %s, the views are in %s. To ask more:\n  %s\n' "$$root/" "$$root.db" \
	  "$(BIN)/duckdb -readonly $$root.db \"select * from model_summary\""; \
	exit $$code

views: $(STAMP) ## rebuild lake.db, the views over the lake
	@$(BIN)/lake views

test: $(STAMP) ## all tests that are not slow (under 10 minutes on two cores)
	@$(PYTEST) -m "not slow" $(ARGS)

test-unit: ## tests of one function or class
test-contract: ## tests of the table contracts and what is derived from them
test-property: ## tests over generated input
test-functional: ## tests of the command line and of whole workflows
test-conformance: ## tests against recorded real data and documents
test-gpu: ## tests on a GPU
$(CATEGORIES:%=test-%): test-%: $(STAMP)
	@$(PYTEST) -m "not slow" tests/$* $(ARGS)

test-slow: $(SPARK_STAMP) ## only the slow tests: Spark, and long ones
	@$(PYTEST) -m slow $(ARGS)

test-all: $(SPARK_STAMP) ## every test
	@$(PYTEST) -m "slow or not slow" $(ARGS)

test-chaos: $(STAMP) ## kills, writers at once and random orders at full length (an hour); renews docs/reliability.md
	@RELIABILITY_PAGE=docs/reliability.md CHAOS_KILLS=1000 CHAOS_WRITERS=32 CHAOS_COMMITS=100 CHAOS_EXAMPLES=100 \
	  CHAOS_STEPS=50 CHAOS_CASES=5000 $(BIN)/python -m pytest tests/functional/test_chaos.py \
	  tests/functional/test_concurrency.py tests/functional/test_fuzz.py tests/property/test_lake_machine.py $(ARGS)

test-readers: $(SPARK_STAMP) $(READERS_STAMP) ## every reader of docs/readers.md beside a writer; renews that page
	@READERS_PAGE=docs/readers.md READERS_PYTHON=$(abspath .venv-readers/bin/python) LAKE_REQUIRE=readers,spark \
	  $(BIN)/python -m pytest -m slow tests/functional/test_readers.py $(ARGS)

coverage: $(STAMP) ## the tests of `make test` with a coverage report
	@$(PYTEST) -m "not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

check: $(STAMP) ## format, lint, types, layers, stale docs, shell syntax
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	bash -n .ci/run

fix: $(STAMP) ## format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write the generated pages of docs/
	$(BIN)/python docs/generate.py

bench: $(STAMP) ## run the benchmarks; docs/benchmarks.md has figures of a past run
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/transition.py
	$(BIN)/python benchmarks/transition_run.py

bench-scale: $(STAMP) $(PEERS_STAMP) ## time large lakes beside other stores (half an hour); figures in docs/scale.md
	@$(BIN)/python benchmarks/scale.py $(ARGS)

# A store that cannot be installed is left out of the comparison, which names it.
$(PEERS_STAMP): benchmarks/peers/requirements.txt
	@echo "bench-scale: downloads about 270 MB of other stores into .venv-peers (less what pip has cached)"
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -q -r $< || grep -v '^#' $< | while read -r package; do \
	  .venv-peers/bin/python -m pip install -q "$$package" || echo "bench-scale: goes on without $$package" >&2; done
	@touch $@

wheel: $(STAMP) ## build sdist and wheel into dist/, try the wheel in an empty environment without torch
	rm -rf dist build
	$(BIN)/python -m build -q --outdir dist .
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install $(if $(filter -q,$(PIP)),-q) -c constraints.txt dist/*.whl
	@bin="$(CURDIR)/build/empty/bin"; work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && cd "$$work" && \
	  "$$bin/python" -c 'import importlib.util as u, groundlake; assert u.find_spec("torch") is None; print(groundlake.__version__)' && \
	  "$$bin/lake" --help > help.txt && "$$bin/lake" init && "$$bin/lake" sql "select 1 as works"
	@echo "wheel: works without torch"; ls -l dist

clean: ## remove build outputs and caches (never lake/, incoming/ or .venv)
	rm -rf build dist src/*.egg-info htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
	  .hypothesis .import_linter_cache
	find . \( -name ".venv*" -o -name .git -o -path ./lake -o -path ./incoming \) -prune -o -name __pycache__ -type d -exec rm -rf {} +
