# kws: `make help` lists the targets.

# The Python that makes .venv: the one that is given, otherwise the one that made it before.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(or $(realpath .venv/bin/python),python3)
else
override PYTHON := $(or $(shell command -v '$(PYTHON)' 2>/dev/null),$(PYTHON))
version = $(shell '$(1)' -c 'import sys; print(sys.version)' 2>/dev/null)
ifneq ($(call version,$(PYTHON)),$(call version,.venv/bin/python))
ANEW := anew
endif
endif

# The programs in .venv hold its path: in a project that was renamed or copied, .venv is made anew.
ifneq ($(wildcard .venv/pyvenv.cfg),)
ifeq ($(shell grep -F " $(CURDIR)/.venv" .venv/pyvenv.cfg),)
ANEW := anew
endif
endif

# The TensorFlow of .venv: CUDA's if GPU=1 asks for it or did before.
KIND := $(if $(filter 1,$(GPU))$(wildcard .venv/ready-gpu),gpu,pipeline)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYTHONPATH := src
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
unexport PYTHONDONTWRITEBYTECODE  # each import of TensorFlow takes twice as long without .pyc files
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := 0
# Settings of the user that would change what is installed; indexes, proxies and caches are the user's.
unexport PIP_CONSTRAINT PIP_NO_BINARY PIP_ONLY_BINARY PIP_PREFIX PIP_REQUIRE_HASHES PIP_REQUIREMENT PIP_ROOT PIP_TARGET
unexport UV_BUILD_CONSTRAINT UV_CONFIG_FILE UV_CONSTRAINT UV_EXCLUDE UV_EXCLUDE_NEWER UV_NO_BINARY UV_NO_BUILD
unexport UV_NO_VERIFY_HASHES UV_OVERRIDE UV_PRERELEASE UV_PYTHON UV_REQUIRE_HASHES UV_RESOLUTION UV_SYSTEM_PYTHON

# Extras with a lock file of their own: those that WITH asks for or did before.
EXTRAS := $(sort $(WITH) $(patsubst .venv/with-%,%,$(wildcard .venv/with-*)))

READY := .venv/ready-$(KIND) $(EXTRAS:%=.venv/with-%)
DEV := .venv/ready-dev
PAGE := .dvc/plots/page.html
PRESET := fast
BASE := main
ARCHIVE := data/raw/mini_speech_commands.zip
BENCH :=
SET :=
N := 5
export PRESET SET  # a recipe reads them from the environment: between quotes of its own, an apostrophe would end them

.DEFAULT_GOAL := repro
.PHONY: anew in-git repro setup exp compare report curve folds seeds few embedding bench test lint ui serve readme lock upgrade clean clean-runs help pull sweep publish mended torture verify

repro: mended $(PAGE)  ## run the pipeline on the parameters in params.yaml, then say what came of it (the default)
	@.venv/bin/dvc repro
	@.venv/bin/python -m kws.commands.summary

# DVC refuses to work with a dvc.lock that was written by half.
mended: in-git $(READY)
	@.venv/bin/python -m kws.commands.mend_lock

# A zip of the project is no git checkout, and DVC's own words do not say what to do.
in-git:
	@reason=$$(git rev-parse --git-dir 2>&1) || { echo "error: DVC needs a git checkout ($$reason): \
	git clone the project, or type: git init && git add . && git commit -m start" >&2; exit 1; }

setup: $(READY) $(PAGE)  ## create .venv from the lock, and the page of dvc plots; GPU=1: with CUDA; WITH='remotes sweep cluster': what docs/remotes.md, sweeps.md, cluster.md need

# A new virtual environment in $(1), with what installs the rest.
define bootstrap
@'$(PYTHON)' -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "error: Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
@[ ! -L $(1) ] || { echo 'error: $(1) is a link to an environment of other packages, or of another Python: remove the link' >&2; exit 1; }
'$(PYTHON)' -m venv --clear $(1)
$(1)/bin/python -m pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements/bootstrap.txt
endef

# Nothing is resolved, so that what was released since does not matter. uv takes seconds where pip takes minutes.
define install
@if [ -x .venv/bin/uv ]; then set -- .venv/bin/uv --no-config pip install; \
else set -- .venv/bin/python -m pip install --use-pep517; fi; \
set -x; "$$@" --quiet --no-deps --no-build-isolation $(1)
endef

# The stamps are written last: an environment that was left half made is made anew. So is one whose Python is gone.
.venv/ready-pipeline .venv/ready-gpu: .venv/ready-%: requirements/%.txt requirements/bootstrap.txt .venv/bin/python $(ANEW)
	$(if $(filter gpu,$*),@[ "$$(uname -sm)" = 'Linux x86_64' ] || { echo 'error: GPU=1 needs Linux on x86-64' >&2; exit 1; })
	$(call bootstrap,.venv)
	$(call install,--require-hashes -r requirements/$*.txt)
	$(call install,--editable .)
	@touch $@

.venv/bin/python: ;

.venv/with-%: requirements/%.txt .venv/ready-$(KIND)
	$(call install,--require-hashes -r $<)
	@touch $@

$(DEV): requirements/dev.txt $(READY)
	$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

$(PAGE): $(READY) src/kws/commands/plots_page.py
	@.venv/bin/python -m kws.commands.plots_page

pull: in-git $(READY) $(PAGE)  ## bring what colleagues pushed, and make its runs in MLflow; nothing is run: git pull && make pull
	@.venv/bin/python -m kws.commands.pull

publish: in-git $(READY)  ## log in MLflow what the stages could not, since it was down or off; nothing is run
	@.venv/bin/python -m kws.commands.publish

exp: mended  ## run a preset as an experiment: make exp PRESET=fast SET='seed=2 split=random'
	@.venv/bin/python -m kws.commands.exp "$$PRESET" "$$SET"

compare: mended  ## compare two experiments on the same clips, and say which validation prefers: make compare A=main B=sorer-cull
	@.venv/bin/python -m kws.commands.compare '$(A)' '$(B)'

report: mended  ## what a change does, in Markdown and pictures, for a pull request: make report BASE=main GATE=1
	@GATE='$(GATE)' .venv/bin/python -m kws.commands.report '$(BASE)'

curve: mended  ## validation accuracy over the amount of training data, and what more would bring: make curve PRESET=fast SET=...
	@.venv/bin/python -m kws.commands.data_curve "$$PRESET" "$$SET"

folds: mended  ## cross-validation over speakers, for few recordings: make folds PRESET=fast SET=... N=5
	@.venv/bin/python -m kws.commands.folds "$$PRESET" "$$SET" '$(N)'

seeds: mended  ## one experiment with several seeds, and its interval over people and seeds: make seeds PRESET=fast SET=... N=5
	@.venv/bin/python -m kws.commands.seeds "$$PRESET" "$$SET" '$(N)'

sweep: mended  ## search for parameters on validation: make sweep SPACE=presets/sweeps/training.yaml TRIALS=20 STUDY=... STORAGE=postgresql://...
	@.venv/bin/python -m kws.commands.sweep '$(SPACE)' '$(TRIALS)' '$(STUDY)' '$(STORAGE)' '$(PUSH)' "$$SET"

few: mended  ## accuracy and rejection with 1, 3, 5, 10, 30 takes a word, on a pretrained network: make few PRESET=best SET=...
	@.venv/bin/python -m kws.commands.few "$$PRESET" "$$SET"

embedding: mended  ## train the embedding that parameter pretrained takes, an hour: make embedding SET=... NAME=kws
	@.venv/bin/python -m kws.commands.embedding "$$SET" '$(or $(NAME),kws)'

bench: $(READY)  ## time the pipeline beside others and its limits, 20 minutes: make bench ARCHIVE=... BENCH='--section fixed'
	@.venv/bin/python benchmarks/speed.py --archive '$(ARCHIVE)' $(BENCH)

test: $(DEV)  ## run the tests on up to four cores, with the coverage of src/kws and stages
	@.venv/bin/python -m pytest -rs --cov -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

torture: in-git $(DEV)  ## strike every stage with kills, full disks, cut networks and more, for hours: make torture TRIES=20 SEED=1 JOBS=1
	@PYTHONPATH=src:tests .venv/bin/python -m torture --tries '$(or $(TRIES),20)' --seed '$(or $(SEED),1)' --jobs '$(or $(JOBS),1)' --only '$(ONLY)'

lint: $(DEV)  ## check style, types, import direction, spelling and workflows
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/codespell
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml

verify: $(READY)  ## read all files in DVC's cache, and replace damaged ones from the workspace
	@.venv/bin/python -m kws.commands.verify

ui: $(READY)  ## open MLflow on the store: make ui PORT=5000
	@.venv/bin/python -m kws.tracking.serve ui '$(or $(PORT),5000)'

serve: $(READY)  ## answer waveforms over HTTP with the best registered model: make serve PORT=5001
	@.venv/bin/python -m kws.tracking.serve serve '$(or $(PORT),5001)'

readme: $(READY)  ## write the figures of the README anew from the files of the pipeline
	@.venv/bin/python docs/readme.py

COMPILE = .scratch/lock/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(UPGRADE)

lock:  ## write requirements/ anew from pyproject.toml; versions stay where they still fit
	$(call bootstrap,.scratch/lock)
	$(COMPILE) pyproject.toml --extra pipeline -o requirements/pipeline.txt
	$(COMPILE) -c requirements/pipeline.txt --group bootstrap -o requirements/bootstrap.txt
	$(COMPILE) -c requirements/pipeline.txt --group dev -o requirements/dev.txt
	$(COMPILE) -c requirements/pipeline.txt pyproject.toml --extra remotes -o requirements/remotes.txt
	$(COMPILE) -c requirements/pipeline.txt pyproject.toml --extra cluster -o requirements/cluster.txt
	$(COMPILE) -c requirements/pipeline.txt pyproject.toml --extra sweep -o requirements/sweep.txt
	$(COMPILE) --group clients -o requirements/clients.txt
	$(COMPILE) --group esphome -o requirements/esphome.txt
	$(COMPILE) -c requirements/pipeline.txt --group server -o requirements/server.txt
	$(COMPILE) --group servers -o requirements/servers.txt
	echo tensorflow-cpu | $(COMPILE) -c requirements/pipeline.txt pyproject.toml --extra pipeline --group gpu --excludes - -o requirements/gpu.txt
	'$(PYTHON)' -m kws.commands.versions

upgrade: UPGRADE := --upgrade
upgrade: lock  ## lock the newest release of everything

clean-runs: mended  ## show what DVC and MLflow hold that no branch, tag or champion needs; YES=1: remove it
	@YES='$(YES)' .venv/bin/python -m kws.commands.clean_runs

clean:  ## remove the environment, unfinished trainings and the caches of tools; data, models and MLflow's store stay
	rm -rf .venv .scratch/lock .scratch/sweeps .scratch/training .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dvc_plots

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
