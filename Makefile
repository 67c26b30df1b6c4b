# Thin wrappers around the digits command. The environment is made once, from the lock file.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run test lint lock clean

run: .venv/.installed
	$(BIN)/digits run $(ARGS)

test: .venv/.installed
	$(BIN)/pytest $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The packages are installed without their own idea of what fits: see README, "The lock file".
.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo 'digits: no Python 3.11 with venv at "$(PYTHON)"; install python3.11 and python3.11-venv, or: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'setting up .venv, once: some minutes and 4 GB'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Resolves pyproject.toml anew. uv is needed for this only.
lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet uv
	.venv/lock/bin/uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_34 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --quiet --output-file requirements.lock

# Leaves run/ alone: what is served lives there.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# Benchmarks, on data that DATA names: the full MNIST as IDX files, say.
.PHONY: bench-accuracy bench-pipeline bench-robustness
bench-accuracy bench-pipeline bench-robustness: bench-%: .venv/.installed
	@test -n '$(DATA)' || { echo 'digits: name the data: make $@ DATA=DIR' >&2; exit 2; }
	$(BIN)/python -m tests.benchmarks.$* --data $(DATA) $(ARGS)

# Benchmarks of the model server, on the pushed model.
.PHONY: bench-fuzz bench-serving bench-soak
bench-fuzz bench-serving bench-soak: bench-%: .venv/.installed
	$(BIN)/python -m tests.benchmarks.$* $(ARGS)
