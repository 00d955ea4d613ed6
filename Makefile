# kws: `make help` lists the targets.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := src
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

READY := .venv/ready
PAGE := .dvc/plots/page.html
PRESET := fast
ARCHIVE := data/raw/mini_speech_commands.zip
BENCH :=
SET :=
PORT := 5001

.DEFAULT_GOAL := repro
.PHONY: repro setup exp compare curve bench test lint ui serve readme lock clean help

repro: $(READY) $(PAGE)  ## run the pipeline on the parameters in params.yaml, then say what came of it (the default)
	@.venv/bin/dvc repro
	@.venv/bin/python -m kws.commands.summary

setup: $(READY) $(PAGE)  ## create .venv from the locked requirements, and the page that dvc plots draws on

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "error: Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(PAGE): $(READY) src/kws/commands/plots_page.py
	@.venv/bin/python -m kws.commands.plots_page

exp: $(READY)  ## run a preset as an experiment: make exp PRESET=fast SET='seed=2 split=random'
	@.venv/bin/python -m kws.commands.exp '$(PRESET)' '$(SET)'

compare: $(READY)  ## compare two experiments on the same test clips: make compare A=main B=sorer-cull
	@.venv/bin/python -m kws.commands.compare '$(A)' '$(B)'

curve: $(READY)  ## accuracy over the number of training clips, and what more would bring: make curve PRESET=fast SET=...
	@.venv/bin/python -m kws.commands.data_curve '$(PRESET)' '$(SET)'

bench: $(READY)  ## time the pipeline beside others and its limits, 20 minutes: make bench ARCHIVE=... BENCH='--section fixed'
	@.venv/bin/python benchmarks/speed.py --archive '$(ARCHIVE)' $(BENCH)

test: $(READY)  ## run the tests, with the coverage of src/kws and stages
	@.venv/bin/python -m pytest --cov

lint: $(READY)  ## check style, types, import direction and spelling
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/codespell

ui: $(READY)  ## open MLflow on the store
	.venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db

serve: $(READY)  ## answer waveforms over HTTP with the best registered model: make serve PORT=5001
	MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} .venv/bin/mlflow models serve -m models:/kws@champion --env-manager local --port $(PORT)

readme: $(READY)  ## write the figures of the README anew from the files of the pipeline
	@.venv/bin/python docs/readme.py

lock:  ## lock requirements.txt anew from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra pipeline --group dev --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --quiet --upgrade pyproject.toml -o requirements.txt

clean:  ## remove the environment, unfinished trainings and the caches of tools; data, models and MLflow's store stay
	rm -rf .venv .scratch/training .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dvc_plots

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
