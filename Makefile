# `make demo`, `make test`, `make quality`, `make soak`, `make gpu-check`. Each sets up .venv on first use and reuses it after.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types unit quality soak gpu-check clean
demo: .venv/runtime.stamp
	$(BIN)/latewood demo

test: lint types unit quality

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

# A file's tests stay together, so that what they share is made once. Many wait for processes: 3 share 2 cores.
unit: .venv/dev.stamp
	$(BIN)/python -m pytest -n 3 --dist loadfile -r fEs --durations 15

quality: .venv/dev.stamp
	$(BIN)/python scripts/quality.py

# Long kill, fuzz and load runs; `make test` runs a sample of each.
soak: .venv/dev.stamp
	$(BIN)/python -m pytest -m soak

# Every way to attend on the GPU of this machine: parity with the processor, speed, memory.
gpu-check: .venv/dev.stamp
	$(BIN)/python -m benchmarks.gpu

.venv/runtime.stamp: pyproject.toml constraints.txt scripts/setup_env.py
	$(PYTHON) scripts/setup_env.py runtime
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt scripts/setup_env.py
	$(PYTHON) scripts/setup_env.py dev
	touch $@ .venv/runtime.stamp

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .hypothesis
