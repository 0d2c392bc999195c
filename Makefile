# The commands for people. `make demo` and `make test` need nothing but Python 3.11 or newer and this file.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.9
# The files that `make words` checks.
PROSE := '*.md' '*.py' '*.lua' Makefile 'protos/lookalike/*.proto' 'examples/*' '.github/*' 'deploy/*' 'gateway/page/*' \
	':!gateway/page/vendor/*.[cj]s*' ':!examples/*/package-lock.json'

.DEFAULT_GOAL := help
.PHONY: help install up demo check types breaking words github test examples test-backends test-openvino format stubs released recorded train unseen photographs photo chaos deletion rolling schemathesis hostile containers manifests recall scale bench bench-quick bench-growth clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Install everything into .venv, in the versions of constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt protos/build_stubs.py $(wildcard protos/lookalike/v1/*.proto)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=$(UV_VERSION),<1"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt --editable ".[dev]"
	@touch $@

up: install ## Run the whole system on this machine until Ctrl-C
	$(BIN)/lookalike up

demo: install ## Ingest 9,000 real pictures, search with 1,000 others, show how good the answers are
	$(BIN)/lookalike demo --out build

check: install types words github breaking ## Lint, types, import rules, the contract and its last release, words, .github
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

types: install ## Strict mypy, tests included
	$(BIN)/mypy

breaking: install ## Compare the contract with that of the last release
	@released=$$(ls protos/released/*.binpb 2>/dev/null | sort -V | tail -n 1); \
	if [ -z "$$released" ]; then echo "protos/released/ is empty: there is no release to compare with"; \
	else echo "compared with $$released"; $(BIN)/buf breaking protos --against "$$released"; fi

words: install ## Find misspellings, and words of .ci/words.txt
	git ls-files -z -- $(PROSE) | xargs -0 $(BIN)/codespell

github: install ## Compare the files of .github and .pre-commit-config.yaml with their schemas
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(BIN)/pre-commit validate-config

test-backends: install ## Train a tiny tower by JAX, and by PyTorch in an environment of its own (a large download)
	$(BIN)/uv venv --quiet --allow-existing build/torch
	$(BIN)/uv pip install --quiet --python build/torch/bin/python --constraints constraints.txt \
	    --requirements pyproject.toml "torch==2.13.0" "keras~=3.15" "pillow~=13.0"
	LOOKALIKE_JAX_PYTHON=$(BIN)/python LOOKALIKE_TORCH_PYTHON=build/torch/bin/python \
	    $(BIN)/pytest tests/unit/embedder/commands/test_train.py -k another_backend

test-openvino: install ## Compare OpenVINO's vectors with TensorFlow's; installs the extra [openvino] into .venv (180 MB)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable ".[dev,openvino]"
	$(BIN)/pytest tests/unit/embedder/serving/test_openvino_engine.py tests/contract/test_embedder_process.py

test: install ## Unit, contract and end-to-end tests against real servers, in three processes
	$(BIN)/pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations=50 --junitxml=build/tests.xml

examples: install ## Build the examples of every language here, and run them against a system (a minute)
	$(BIN)/pytest -v tests/e2e/test_examples.py

chaos: install ## Kill every part of the system in turn while 5,000 images are ingested, on the real Milvus (minutes)
	$(BIN)/pytest -m long -s tests/e2e/test_chaos.py

deletion: install ## Run a sweep beside a job and searches, and check that only files of deleted images go (a minute)
	$(BIN)/pytest -m long -s tests/e2e/test_deletion.py

rolling: install ## Restart two of each service in turn, twice, under searches and a job of 5,000 pictures, on the real Milvus (minutes)
	$(BIN)/pytest -m long -s tests/e2e/test_rolling_restart.py

schemathesis: install ## Fuzz the HTTP API of a live gateway by its OpenAPI document, all checks on (minutes)
	$(BIN)/uv venv --quiet --allow-existing build/schemathesis
	$(BIN)/uv pip install --quiet --python build/schemathesis/bin/python "schemathesis==4.32.5" "pillow~=13.0"
	SCHEMATHESIS=$(CURDIR)/build/schemathesis/bin/schemathesis $(BIN)/pytest -m long -s tests/e2e/test_schemathesis.py

hostile: install ## Send 300 hostile pictures among 3,000 good ones to an embedder of 2.5 GB, as searches and as a job (minutes)
	$(BIN)/pytest -m long -s tests/e2e/test_hostile.py tests/unit/embedder/pictures/test_hostile_pictures.py \
	    tests/unit/embedder/pictures/test_tiff_bands.py

containers: install ## Build the images, run compose.yaml, kill each container during a job (docker, or CONTAINERS=podman COMPOSE=podman-compose)
	deploy/checks/compose.sh

manifests: ## Check Kubernetes overlays, Dockerfile and compose files (kubectl, kubernetes-validate, trivy, hadolint, dclint)
	deploy/checks/files.sh
	deploy/checks/kubernetes.sh

scale: install ## Plan ten million items and record their chunks: memory, time, room in Redis (minutes)
	$(BIN)/python -m tests.bench.scale

recall: install ## Measure recall and precision over 9,000 images through the gateway, on both servers (minutes)
	$(BIN)/pytest -m long -s tests/e2e/test_recall.py

bench: install ## Measure everything beside its limit, with 100,000 vectors (tests/bench/README.md)
	$(BIN)/python -m tests.bench --out build

bench-quick: install ## The same with 20,000 vectors, within 8 minutes on two cores
	$(BIN)/python -m tests.bench --quick --out build

bench-growth: install ## Measure time, memory, disk, latency and recall up to a million vectors (40 minutes and more; deploy/SIZING.md)
	$(BIN)/python -m tests.bench.growth --out build

format: install ## Let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: install ## Generate lookalike/v1 from protos/ again
	$(BIN)/python protos/build_stubs.py

released: breaking ## Keep the contract in protos/released/ as that of pyproject.toml's version (docs/releasing.md)
	$(BIN)/buf build protos --exclude-source-info \
	    -o protos/released/$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml).binpb

recorded: install ## Record what the services of this release send and store, for the tests of the next (docs/releasing.md)
	$(BIN)/python -m tests.recorded.record

train: install ## Train the shipped fashion tower again (hours on one core; continues a stopped run)
	$(BIN)/lookalike train fashion-mnist --half-precision --out build/fashion

unseen: install ## Train on five classes, ask about the other five, write the report beside the fashion bundle
	$(BIN)/python -m embedder.training.unseen --out build/unseen

photographs: install ## Gather real photographs from Debian packages into build/photographs
	$(BIN)/python -m embedder.datasets.photographs build/photographs

photo: photographs ## Train the shipped model for photographs again (minutes on one core)
	$(BIN)/lookalike convert-weights build/efficientnet_lite0.npz
	$(BIN)/python -m embedder.training.photo build/photographs --weights build/efficientnet_lite0.npz --out build/photo

clean: ## Remove .venv and everything built
	rm -rf $(VENV) build dist lookalike/v1
