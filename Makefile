# `make` alone lists the targets. Each does its own set-up, and a second run has nothing left to do.
# A stamp file tells what is done already; ARGS go to the program behind a target.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Without a home folder buf would keep its cache in the working folder.
export BUF_CACHE_DIR := $(CURDIR)/$(VENV)/cache/buf
# The tests start hundreds of processes, and each would compile what it imports. `make clean` takes away what is kept.
unexport PYTHONDONTWRITEBYTECODE

COMPILE := $(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
    --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

PROTOS := $(shell find protos -name '*.proto' | LC_ALL=C sort)

.PHONY: help
help:  ## show this list
	@echo 'make TARGET [ARGS="..."]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed stubs/.generated  ## the Python environment in .venv and the gRPC stubs

.PHONY: proto
proto: stubs/.generated  ## the Python code for protos/, in stubs/

.PHONY: run
run: setup  ## start everything: PostgreSQL, the sandbox bank, the gRPC service; Ctrl-C stops it
	@exec $(BIN)/jzb run $(ARGS)

.PHONY: demo
demo: setup  ## play a marketplace day through the gRPC API and compare the books with the bank's
	@exec $(BIN)/jzb demo $(ARGS)

.PHONY: verify
verify: setup  ## replay the journal and compare it with the balances
	@exec $(BIN)/jzb verify $(ARGS)

.PHONY: test
test: setup  ## the tests, but for those of soak and test-observability; or all of what ARGS names
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-m "not soak and not observability")

# These tests often wait for processes: so there are three for two cores.
.PHONY: soak
soak: setup  ## the tests that take long: processes killed, books restored, seeds of the simulator, bad requests
	@$(BIN)/python -m pytest -m soak --numprocesses=$$(( $$(nproc) * 3 / 2 )) $(ARGS)

.PHONY: test-observability
test-observability: setup  ## look at the service with a real Prometheus: panels, alerts, exemplars (skipped without one)
	@$(BIN)/python -m pytest -m observability --numprocesses=0 -rs tests/observability $(ARGS)

.PHONY: bench
bench: setup  ## measure: every row as a ratio within one run (ARGS="ledger growth" for some); fails if one falls short
	@exec $(BIN)/python -m bench $(ARGS)

SEEDS ?= 1-20

.PHONY: simulate
simulate: setup  ## break the service by schedule, seed after seed, and check that nothing is lost (SEEDS=1-500)
	@exec $(BIN)/python -m simulate $(SEEDS) $(ARGS)

REQUESTS ?= 100000
SEED ?= 1

.PHONY: fuzz
fuzz: setup  ## send bad requests to every RPC and check that none breaks anything (REQUESTS=100000 SEED=1)
	@exec $(BIN)/python -m tests.fuzz --requests $(REQUESTS) --seed $(SEED)

.PHONY: mutants
mutants: setup  ## make small mistakes in the money path and list those that no test sees (ARGS=ledger/rules.py)
	@exec $(BIN)/python -m tests.mutants $(ARGS)

.PHONY: docs
docs: setup  ## the documents that are made from the code
	@$(BIN)/jzb docs bank
	@$(BIN)/jzb docs logs
	@$(BIN)/python -m scripts.dashboards
	@$(BIN)/jzb docs metrics
	@$(BIN)/python -m scripts.supply licences

.PHONY: lint
lint: setup  ## style, types, contract and direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint protos
	@$(BIN)/python scripts/contract.py check
	@$(BIN)/lint-imports

.PHONY: contract
contract: setup  ## at a release: keep the contract that later changes are compared with
	@$(BIN)/python scripts/contract.py keep

.PHONY: sbom
sbom: setup  ## what a service is made of, from the lock of run time, as CycloneDX in dist/
	@$(BIN)/python -m scripts.supply sbom

.PHONY: audit
audit: setup  ## known vulnerabilities of the lock of run time; fails, too, if not all could be looked up (ARGS=URL of an OSV)
	@$(BIN)/python -m scripts.supply audit $(ARGS)

.PHONY: wheel
wheel: sbom  ## a wheel in dist/ beside its bill of materials, tried in an environment of its own (a minute or so: it takes packages from the registry)
	@sh scripts/try-wheel.sh

.PHONY: lock
lock: $(VENV)/.installed  ## both locks from pyproject.toml, run time first (ARGS=--upgrade for newer versions)
	@$(COMPILE) --output-file requirements.txt $(ARGS) pyproject.toml
	@$(COMPILE) --extra dev --extra embedded --constraint requirements.txt --output-file requirements-dev.txt $(ARGS) pyproject.toml

.PHONY: clean
clean:  ## remove what the other targets made, but not var/, where the money is
	@rm -rf $(VENV) stubs stubs.new build dist *.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@python=$$(sh scripts/find-python.sh) && \
	    echo "Making $(VENV) with $$python" && \
	    "$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made requirements.txt requirements-dev.txt pyproject.toml
	@echo 'Installing the packages of both locks (a minute or so the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --requirement requirements.txt --requirement requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --no-build-isolation --editable .
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	    printf '%s\n' '$(CURDIR)/stubs' > "$$site/jzb_stubs.pth"
	@touch $@

stubs/.generated: $(PROTOS) scripts/stubs.py $(VENV)/.installed
	@rm -rf stubs.new && mkdir stubs.new
	@$(BIN)/python scripts/stubs.py stubs.new
	@rm -rf stubs && mv stubs.new stubs
	@touch $@
