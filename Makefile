# Two commands on a fresh machine: `make demo` runs the main job, `make test` checks everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUNTIME_READY := $(VENV)/.runtime-ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: demo test lint docs bench demo-bundle clean

demo: $(RUNTIME_READY)  ## the packaged clip with the packaged bundle; installs only the runtime, no torch
	$(BIN)/stprompt-edge demo --out stprompt-edge-out/demo

test: $(DEV_READY) lint docs  ## everything that CI runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_READY)  ## the pages as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(DEV_READY)  ## measures again what README states; half an hour on two quiet cores
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.parity
	$(BIN)/python -m benchmarks.outliers
	$(BIN)/python -m benchmarks.int8
	$(BIN)/python -m benchmarks.endurance
	$(BIN)/python -m benchmarks.readme

demo-bundle: $(DEV_READY)  ## makes stprompt_edge/assets/demo/bundle again, from rendered scenes on: two and a half hours on two quiet cores
	$(BIN)/python -m demo.bundle

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME_READY): pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[cpu]'
	touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[cpu,train,dev,docs]'
	touch $@ $(RUNTIME_READY)

clean:
	rm -rf $(VENV) site stprompt-edge-out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
