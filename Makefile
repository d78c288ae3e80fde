# A clean clone needs python3 (3.11 or newer) with venv, make and git; `make help` says what there is.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
RUN_SETUP := .venv/.installed
DEV_SETUP := .venv/.installed-dev
# Another account than root cannot run, nor test, what changes accounts.
NOT_ROOT := $(if $(filter-out 0,$(shell id -u)),COVERAGE_OMIT='*/adapters/embedded/account.py')
# What must not depend on, or touch, the database of the environment.
CHECK := env -u DATABASE_URL HEXAPOST_STATE_DIRECTORY=.hexapost/check $(BIN)/hexapost

.PHONY: help run test check migrate migration bench drill prove fuzz openapi openapi-lint lock clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

run: $(RUN_SETUP) ## serve the API on http://127.0.0.1:8000 (PORT=…), on the embedded PostgreSQL unless DATABASE_URL is set
	@exec $(BIN)/hexapost serve --embedded --migrate --admin-key --with-parent $$PPID $(if $(PORT),--port "$(PORT)")

test: $(DEV_SETUP) ## run the whole test suite (args="-k users -x" are passed on to pytest)
	@$(NOT_ROOT) $(BIN)/python -m pytest $(or $(args),-n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=xml:.hexapost/coverage.xml)

check: $(DEV_SETUP) ## check format, lint, types, import contracts, dependencies, migrations (lint, locks) and the OpenAPI document
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry . --no-ansi
	$(BIN)/python -m migrations.checks.lint
	$(CHECK) with-database --embedded -- $(BIN)/python -m migrations.checks.trace
	$(CHECK) migrate --embedded --phase contract
	$(CHECK) with-database --embedded -- $(BIN)/alembic check
	$(CHECK) with-database --embedded -- $(BIN)/alembic current --check-heads
	$(CHECK) openapi --check openapi.json

migrate: $(RUN_SETUP) ## bring the schema of the database to this release's (PHASE=contract: and remove what older ones need)
	@$(BIN)/hexapost migrate --embedded --phase $(or $(PHASE),expand)

migration: $(DEV_SETUP) ## write a revision out of what the models have and the migrations lack: m="…" (PHASE=contract)
	@test -n "$(m)" || { echo 'say what it is about: make migration m="add users.nickname"' >&2; exit 2; }
	@$(CHECK) migrate --embedded --phase contract
	@$(CHECK) with-database --embedded -- $(BIN)/alembic -x phase=$(or $(PHASE),expand) revision --autogenerate -m "$(m)"

bench: $(DEV_SETUP) ## measure CPU per request and latency beside yardsticks (report/bench.svg); AGAINST=HEAD~3 compares with that commit
	@$(BIN)/python -m tests.benchmarks $(if $(AGAINST),--against="$(AGAINST)") $(args)

drill: $(DEV_SETUP) ## carry out one proof by fault injection: NAME=exactly-once
	@$(BIN)/python -m tests.drills $(or $(NAME),"") $(args)

prove: $(DEV_SETUP) ## carry out every proof by fault injection (report/index.html)
	@$(BIN)/python -m tests.drills all $(args)

fuzz: $(DEV_SETUP) ## fuzz the running service with 10,000 cases out of openapi.json (args="--cases 50000 --seed 2")
	@$(BIN)/python -m tests.fuzz $(args)

openapi: $(RUN_SETUP) ## write openapi.json anew
	@env -u DATABASE_URL $(BIN)/hexapost openapi --write openapi.json

openapi-lint: ## lint openapi.json with Spectral and Redocly (needs npx)
	npx --yes @stoplight/spectral-cli@6 lint --fail-severity hint --ruleset tests/http/spectral.yaml openapi.json
	npx --yes @redocly/cli@2 lint --extends recommended-strict openapi.json

lock: ## resolve the requirements anew, with hashes (needs uv)
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra embedded --extra tracing -o requirements.txt pyproject.toml
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra embedded --extra tracing --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml

clean: ## remove what the other targets made: the embedded database, and the pepper without which no key opens anything
	rm -rf .venv .hexapost report .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(RUN_SETUP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hexapost needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	@echo "hexapost: making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "hexapost: installing the locked requirements"
	@$(INSTALL) --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_SETUP): requirements-dev.txt $(RUN_SETUP)
	@echo "hexapost: installing the locked requirements of the tests and checks"
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@
