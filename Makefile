# The tasks of this project. `make` alone lists them; the workflow and .ci/run call the same targets.

VENV   ?= .venv
# Any Python from 3.11 on: `python3` where it is one, else the newest that answers.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
            $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
UV     := $(shell command -v uv 2>/dev/null)
BIN    := $(VENV)/bin
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN)

.DEFAULT_GOAL := help
.PHONY: help prove test lint types contract unit test-pythons bench bench-policies bench-faults bench-retail bench-outbox campaign map picture lock clean

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

test-pythons: ## the tests on every Python from 3.11 on that this machine has
	@for p in $$(ls -d $$HOME/.pyenv/versions/3.1[1-9]*/bin/python3 2>/dev/null) python3.11 python3.12 python3.13 python3.14; do \
	  v=$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case " $$seen " in *" $$v "*) continue ;; esac; seen="$$seen $$v"; \
	  echo "== Python $$v"; $(MAKE) --no-print-directory VENV=.venv-$$v PYTHON=$$p unit || exit 1; \
	done

bench: .venv-bench/.installed ## measure beside the peers, and write BENCHMARKS.md (takes minutes)
	.venv-bench/bin/python bench/run.py > BENCHMARKS.md.draft
	mv BENCHMARKS.md.draft BENCHMARKS.md

bench-policies: .venv-bench/.installed ## measure the policies beside their peers, and write docs/policies/benchmarks.md
	.venv-bench/bin/python bench/policies.py > docs/policies/benchmarks.md.draft
	mv docs/policies/benchmarks.md.draft docs/policies/benchmarks.md

bench-faults: .venv-bench/.installed ## measure the proxy and the sweep beside their peers, and write docs/faults/benchmarks.md
	.venv-bench/bin/python bench/faults.py > docs/faults/benchmarks.md.draft
	mv docs/faults/benchmarks.md.draft docs/faults/benchmarks.md

bench-retail: .venv-bench/.installed ## measure the retail pipeline beside COPY, dlt and pandas, and write docs/retail-benchmarks.md
	.venv-bench/bin/python bench/retail.py > docs/retail-benchmarks.md.draft
	mv docs/retail-benchmarks.md.draft docs/retail-benchmarks.md

bench-outbox: .venv-bench/.installed ## measure the outbox beside its peers, and write docs/durable/outbox-benchmarks.md
	.venv-bench/bin/python bench/outbox.py > docs/durable/outbox-benchmarks.md.draft
	mv docs/durable/outbox-benchmarks.md.draft docs/durable/outbox-benchmarks.md

campaign: $(VENV)/.installed ## strike the retail system at every system call and every message, and kill it at random (takes hours)
	$(BIN)/python campaigns/retail_ingest.py run
	$(BIN)/python campaigns/retail_run.py run

map: $(VENV)/.installed ## write docs/map.md anew from the modules' first lines
	$(BIN)/python docs/map.py > docs/map.md

picture: $(VENV)/.installed ## prove everything and write docs/verdicts.svg anew
	$(BIN)/premortem prove
	$(BIN)/premortem report last --format svg -o docs/verdicts.svg

.venv-bench/.installed: requirements/bench.txt pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## pin names, versions and hashes again (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet -o requirements/dev.txt
	uv pip compile pyproject.toml --all-extras --group bench --universal --python-version 3.11 \
	  --generate-hashes --no-header --quiet -o requirements/bench.txt

clean: ## remove what make made
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
