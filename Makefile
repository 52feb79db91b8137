# Commands for a bare machine: python3 with venv and pip is all that is assumed.
#
#   make gate          the accuracy gate on $IMAGENET_DIR, or on the synthetic dataset if that is not set
#   make ranks         the same by RANKS processes that share each model's images, started by torchrun
#   make throughput    images per second of the models
#   make compare       what differs between two runs, RUNS="OLD NEW"
#   make report        report.html, a page of runs, RUNS="OLD NEW"
#   make gpu           what a GPU computes: a table of checks, and gpu.json; without one, those that a CPU can run
#   make wheelhouse    what make gpu needs on a machine without network: wheels of what it lacks beside torch
#   make faults        what planted faults do, on the real images in $IMAGENET_DIR and on the synthetic dataset; half an hour
#   make fuzz          damaged inputs of every kind, random command lines, and runs that are killed; an hour
#   make docs          the site of README.md and docs/, with the Python API, in build/docs
#   make test          formatting, lint, types, layers, workflows, and all tests
#
# Where `python` has torch, as in an activated environment, it is used and its torch is left as it is, since it is
# what is under test; missing tools are added to that environment. Anywhere else .venv is made.

.SUFFIXES:
.DEFAULT_GOAL := help

ARGS ?=

PYTHON := $(shell python -c 'import importlib.util, sys; importlib.util.find_spec("torch") and print(sys.executable)' 2>/dev/null)
PYTHON := $(or $(PYTHON),.venv/bin/python)
# Installed for this checkout; noted inside the environment, so that a new environment is not taken for ready.
READY := $(dir $(PYTHON))../.imagenet-gate$(subst /,-,$(CURDIR))
# With all extras and tools, which the gate does not need.
TOOLS := $(READY).tools

.PHONY: help
help:
	@sed -n '3,14s/^#   //p' $(firstword $(MAKEFILE_LIST))

.PHONY: gate
gate: $(READY)
	$(PYTHON) -m pytest -m imagenet --imagenet="$${IMAGENET_DIR:-synthetic}" $(ARGS)

.PHONY: ranks
ranks: $(READY)
	$(PYTHON) -m torch.distributed.run --nproc-per-node $(or $(RANKS),2) -m pytest -m imagenet --imagenet="$${IMAGENET_DIR:-synthetic}" $(ARGS)

.PHONY: throughput
throughput: $(READY)
	$(PYTHON) -m pytest -m throughput $(ARGS)

.PHONY: compare
compare: $(READY)
	$(PYTHON) -m harness compare $(RUNS) $(ARGS)

.PHONY: report
report: $(TOOLS)
	$(PYTHON) -m harness report $(RUNS) -o report.html $(ARGS)

# From wheels in wheelhouse/ where there are any, for a machine without network; the project is imported from here.
.PHONY: gpu
gpu: $(if $(wildcard wheelhouse/*.whl),,$(READY))
	$(if $(wildcard wheelhouse/*.whl),$(PYTHON) -m pip install --quiet --no-index --no-deps wheelhouse/*.whl)
	$(PYTHON) -m pytest tests/gpu -m gpu --gpu-json=gpu.json $(ARGS)

# For the Python and the platform of the machine with the GPU.
WHEELS ?= msgspec platformdirs
GPU_PYTHON ?= 3.12
GPU_PLATFORM ?= manylinux_2_28_x86_64

.PHONY: wheelhouse
wheelhouse:
	$(or $(wildcard $(PYTHON)),python3) -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
	  --platform $(GPU_PLATFORM) --platform manylinux2014_x86_64 --dest wheelhouse $(WHEELS)

.PHONY: faults
faults: $(TOOLS)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check 'simplejpeg>=1.7'
	$(PYTHON) -m tests.faults --imagenet "$${IMAGENET_DIR-}" $(ARGS)

# Each input is made from its number, so that one that fails can be made again.
.PHONY: fuzz
fuzz: $(READY)
	$(PYTHON) -m pytest tests/fuzz tests/integration/test_odd_options.py -m "fuzz or not fuzz" $(ARGS)
	for way in plain no-store workers ranks; do $(PYTHON) -m tests.fuzz.kills $$way --trials 25 || exit; done
	$(PYTHON) -m tests.fuzz.kills build --trials 100

.PHONY: docs
docs: $(READY)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint $(READY).constraints --editable '.[docs]'
	$(PYTHON) -m sphinx --quiet --fail-on-warning --keep-going -c docs . build/docs

.PHONY: test
test: $(TOOLS)
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(PYTHON) -m check_jsonschema --builtin-schema vendor.github-actions action.yml
	$(dir $(PYTHON))shellcheck ci/* .ci/run
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(PYTHON) -m pytest -n auto --dist worksteal -m "not imagenet and not throughput and not fuzz and not gpu" $(ARGS)

$(TOOLS): EXTRAS := [examples,lite,nightly,parquet,test]
# Python compiles what it imports; compiling all of torch takes longer than the rest of the installation.
$(READY) $(TOOLS): pyproject.toml | $(PYTHON)
	@$(PYTHON) scripts/constraints.py > $(READY).constraints
	$(PYTHON) -m pip install --quiet --no-compile --disable-pip-version-check --constraint $(READY).constraints \
	  --editable '.$(EXTRAS)'
	@touch $(READY) $@

.venv/bin/python:
	python3 -m venv .venv
