# The tasks of this project. `make` alone lists them; the workflow and .ci/run call the same targets.

VENV   ?= .venv
# Any Python from 3.11 on: `python3` where it is one, else the newest that answers.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
            $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
UV     := $(shell command -v uv 2>/dev/null)
BIN    := $(VENV)/bin
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN)

.DEFAULT_GOAL := help
.PHONY: help prove test lint types contract unit test-pythons bench lock clean

help: ## list the tasks
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prove: $(VENV)/.installed ## prove every failure in the museum, on real servers
	$(BIN)/premortem prove

test: lint types contract unit ## lint, types, import contract, tests

lint: $(VENV)/.installed ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed ## mypy, strict
	$(BIN)/mypy

contract: $(VENV)/.installed ## who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.installed ## the tests
	$(BIN)/pytest -n $(JOBS) --dist worksteal

# Editable, and without build isolation: the build back end comes from the lock file too.
$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "premortem needs Python 3.11 or newer, and none answers here: install one, or say make PYTHON=/path/to/python"; exit 2; }
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

lock: ## pin names, versions and hashes again (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet -o requirements/dev.txt

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
