# Thin wrappers around the digits command. The environment is made once, from the lock file.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run test lint lock clean

run: .venv/.installed
	$(BIN)/digits run $(ARGS)

test: .venv/.installed
	$(BIN)/pytest $(ARGS)

# All tasks of the package for Kubeflow Pipelines, as Kubeflow runs them: on MinIO where `make minio`
# has put it, DIGITS_MINIO names it, or it is installed; else on moto's store.
.PHONY: test-kubeflow
test-kubeflow: .venv/.installed
	PATH='$(CURDIR)/.engines':"$$PATH" $(BIN)/pytest -m slow -s tests/kubeflow $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The packages are installed without their own idea of what fits: see CONTRIBUTING, "The lock file".
# Of their modules only those that a run imports are compiled, and here: where PYTHONDONTWRITEBYTECODE
# is set, as in many a container, every start would compile them again, half a minute.
.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo 'digits: no Python 3.11 with venv at "$(PYTHON)"; install python3.11 and python3.11-venv, or: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'setting up .venv, once: a minute or two and 3.5 GB'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import tensorflow_model_analysis, tfx.v1' 2>/dev/null || \
	  { echo 'digits: the packages do not load; what is wrong: .venv/bin/python -c "import tfx.v1"' >&2; exit 1; }
	@touch $@

# TF Serving itself, on this machine only, for the models of MODELS. Flags of its own: ARGS.
MODELS ?= run/serving
.PHONY: serve-real
serve-real:
	@command -v docker >/dev/null || { echo 'digits: no docker here, which TF Serving needs; without it: digits serve' >&2; exit 2; }
	@docker info >/dev/null 2>&1 || { echo 'digits: docker is here, but its daemon does not answer: start it, or join its group' >&2; exit 2; }
	@test -d '$(MODELS)/digits' || { echo 'digits: $(MODELS)/digits: no pushed model; run `digits run` first, or name another: make $@ MODELS=DIR' >&2; exit 2; }
	docker run --rm --init --publish 127.0.0.1:8500:8500 --publish 127.0.0.1:8501:8501 \
	  --volume '$(abspath $(MODELS)):/models:ro' \
	  --volume '$(CURDIR)/serving/deploy/kubernetes/base/config:/config:ro' \
	  --env MODEL_NAME=digits '$(shell sed -n 's/^ *image: *//p' serving/deploy/compose.yaml)' \
	  --monitoring_config_file=/config/monitoring.config --enable_grpc_healthcheck_service=true $(ARGS)

# The JavaScript packages of the web page, from its lock file: LiteRT.js. Needs Node.js.
.PHONY: web
web: export/web/node_modules/.package-lock.json

export/web/node_modules/.package-lock.json: export/web/package-lock.json
	@command -v npm >/dev/null || { echo 'digits: no npm here, which the web page needs once; install Node.js 18 or newer' >&2; exit 2; }
	npm ci --prefix export/web --loglevel=error
	@touch $@

# What the tests of a bundle's sources compile and link against, 200 MB. Needs Maven.
.PHONY: native-libraries
native-libraries: build/native-libraries/.installed

build/native-libraries/.installed: tests/native/pom.xml
	@command -v mvn >/dev/null || { echo 'digits: no Maven here, which fetches the libraries; install it (apt install maven)' >&2; exit 2; }
	mvn --quiet --batch-mode --file tests/native/pom.xml dependency:copy-dependencies \
	  -DoutputDirectory='$(CURDIR)/$(@D)'
	@touch $@

# Resolves pyproject.toml anew. uv is needed for this only.
lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet uv
	.venv/lock/bin/uv pip compile pyproject.toml --all-extras --upgrade --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_34 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --quiet --output-file requirements.lock

# Engines for tests/test_beam_engines.py, of Beam's release in the lock file: Prism needs go, Flink's
# job server mvn and java. Neither is needed for anything else.
BEAM = $(shell sed -n 's/^apache-beam==\([0-9.]*\).*/\1/p' requirements.lock)
FLINK ?= 1.20
.PHONY: beam-engines beam-prism beam-flink
beam-engines: beam-prism beam-flink
beam-prism:
	GOBIN='$(CURDIR)/.engines' go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)
beam-flink:
	mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy \
	  -Dartifact=org.apache.beam:beam-runners-flink-$(FLINK)-job-server:$(BEAM) -DoutputDirectory='$(CURDIR)/.engines'

# The object store of Kubeflow Pipelines, for `make test-kubeflow`: 150 MB, AGPL. Needs go.
MINIO ?= v0.0.0-20260212201848-7aac2a2c5b7c
.PHONY: minio
minio:
	@command -v go >/dev/null || { echo 'digits: no go here, which builds MinIO; install it (apt install golang), or name a binary: DIGITS_MINIO' >&2; exit 2; }
	GOBIN='$(CURDIR)/.engines' go install github.com/minio/minio@$(MINIO)

# Leaves run/ alone: what is served lives there.
clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# Benchmarks, on data that DATA names: the full MNIST as IDX files, say.
QUIETLY := TF_CPP_MIN_LOG_LEVEL=3 PYTHONWARNINGS=ignore::FutureWarning
BENCHMARKS := bench-accuracy bench-drift bench-growth bench-microcontrollers bench-pipeline \
  bench-robustness bench-spans
.PHONY: $(BENCHMARKS)
$(BENCHMARKS): bench-%: .venv/.installed
	@test -n '$(DATA)' || { echo 'digits: name the data: make $@ DATA=DIR' >&2; exit 2; }
	$(QUIETLY) $(BIN)/python -m tests.benchmarks.$* --data $(DATA) $(ARGS)

# Benchmarks of the model server, on the pushed model.
.PHONY: bench-fuzz bench-serving bench-soak
bench-fuzz bench-serving bench-soak: bench-%: .venv/.installed
	$(QUIETLY) $(BIN)/python -m tests.benchmarks.$* $(ARGS)

# The edge model's variants beside other engines.
.PHONY: bench-edge
bench-edge: .venv/.installed
	$(BIN)/digits bench-edge $(ARGS)
