# `make demo` and `make test` do all set-up themselves. Everything runs from .venv.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 5000
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
READY := .venv/.ready
QUICK := architecture schema settings genotype cost space prior parsec constraint training views dataset weights

.PHONY: help setup demo test test-quick test-slow test-system test-slurm test-long check format deps lock readme settings rescan ui clean

help:
	@echo "make demo         set up, then the whole pipeline on generated videos -> results/report.html"
	@echo "make test         set up, then the tests that need nothing but .venv;"
	@echo "                  some of them: make test ARGS='tests/test_space.py -k ring'"
	@echo "make test-slow    those that start engines, launchers and servers"
	@echo "make test-quick   the files of tests that say most in half a minute"
	@echo "make test-system  the tests with SLURM, PostgreSQL and Chromium (apt-get installs them, as root)"
	@echo "make test-slurm   those with SLURM alone"
	@echo "make test-long    kills at random points, requeues, time-outs: an hour, and the system packages"
	@echo "make check        formatting, lint, types"
	@echo "make deps         write into dvc.yaml what code each stage depends on"
	@echo "make ui           MLflow's page, whose address it prints; another port: make ui PORT=5050"
	@echo "make rescan       list the raw videos again after they changed"
	@echo "make readme       put the committed results table into README.md"
	@echo "make settings     write the JSON Schema of params.yaml and docs/SETTINGS.md from the code"
	@echo "make lock         resolve requirements.lock anew"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Makefile: $(PYTHON) is too old. Install Python 3.11 or newer, or: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "Makefile: $(PYTHON) has no venv. Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet "torch==2.13.0"
	.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The networks that the parity tests compare with; beside .venv, never into it.
.peers/.ready: requirements-peers.lock $(READY)
	python -m pip install --quiet --upgrade --no-deps --no-build-isolation --require-hashes \
		--target .peers --requirement requirements-peers.lock
	@touch $@

# Triton for its interpreter and its compiler, where no GPU is; beside .venv, never into it.
.triton/.ready: requirements-triton.lock $(READY)
	python -m pip install --quiet --upgrade --no-deps --require-hashes \
		--target .triton --requirement requirements-triton.lock
	@touch $@

demo: $(READY)
	dvc --wait-for-lock repro
	@echo "The report: $(CURDIR)/results/report.html"

test: .peers/.ready
	pytest $(if $(ARGS),,-n auto) -m "not system and not long$(if $(ARGS),, and not slow)" $(ARGS)

test-slow: .triton/.ready
	pytest -n auto -m "slow and not system and not long" $(ARGS)

test-quick: $(READY)
	pytest -m "not system and not long" $(QUICK:%=tests/test_%.py) $(ARGS)

test-system: $(READY)
	tests/install-system
	pytest -m "system and not long" --timeout 900 $(ARGS)

test-slurm: $(READY)
	tests/install-system
	pytest -m "system and not long" --timeout 900 tests/test_slurm*.py

test-long: .peers/.ready .triton/.ready
	tests/install-system
	pytest -m long --timeout 7200 $(ARGS)

check: $(READY)
	ruff format --check .
	ruff check .
	pyright
	snakefmt --check Snakefile workflow
	python -m autox3d.pipeline.deps --check

deps: $(READY)
	python -m autox3d.pipeline.deps

format: $(READY)
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

# torch is left out: its own wheel brings CUDA where a GPU is, and a CPU wheel may lie beside.
lock:
	echo 'torch ; python_version < "3"' >.no-torch.txt
	echo 'python-dateutil<3' >.constraints.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet --upgrade \
		--override .no-torch.txt --constraint .constraints.txt --output-file requirements.lock
	rm .no-torch.txt .constraints.txt

readme: $(READY)
	python -m autox3d.reporting.readme

settings: $(READY)
	python -m autox3d.pipeline.settings_docs

rescan: $(READY)
	dvc repro --force --single-item annotate

# The first line sends what is waiting; the second makes the store before the server opens it.
ui: $(READY)
	-python -m autox3d.runtime.mirror replay
	@env -u MLFLOW_TRACKING_URI python -m autox3d.runtime.mirror address $(PORT)
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --workers 1 \
		--backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(PORT)

clean:
	rm -rf .pipeline .pytest_cache .ruff_cache
