# Requires Python 3.11 or newer with venv, make and git. `make help` lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
RUN_SETUP := .venv/.installed
DEV_SETUP := .venv/.installed-dev
WRITABLE = test -w . || { echo "hexapost: cannot write to $(CURDIR). Copy it to a writable directory." >&2; exit 1; }
# Only root can switch to another OS user, so other users omit that module from the coverage.
NOT_ROOT := $(if $(filter-out 0,$(shell id -u)),COVERAGE_OMIT='*/adapters/embedded/os_user.py')
LOCK := uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder # a long file would otherwise run last, beside an idle core
# Drills wait most of the time. One file has most of them, so their tests are distributed one by one.
PARALLEL_DRILLS := -n 3 --dist load --maxschedchunk 1
# The checks use a separate embedded database, never the one in DATABASE_URL. An empty variable hides the one in `.env`.
CHECK := env DATABASE_URL= DATABASE_URL_FILE= HEXAPOST_SECRETS_DIRECTORY= HEXAPOST_STATE_DIRECTORY=.hexapost/check $(BIN)/hexapost
# Without bytecode files, each process that a test starts compiles all modules again, which takes 5 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run dev test test-drills check check-code check-migrations migrate migration bench drill prove fuzz openapi docs openapi-lint lock image release clean writable


help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

run: $(RUN_SETUP) ## serve the API on http://127.0.0.1:8000 (PORT=…), with an embedded PostgreSQL unless DATABASE_URL is set
	@exec $(BIN)/hexapost serve --embedded --migrate --create-admin-key --exit-with-parent $$PPID $(if $(PORT),--port "$(PORT)")

dev: $(RUN_SETUP) ## do the same as make run, and restart the service after a change of a Python file
	@exec $(BIN)/hexapost serve --embedded --migrate --create-admin-key --exit-with-parent $$PPID $(if $(PORT),--port "$(PORT)") --reload

test: $(DEV_SETUP) ## run the tests without fault injection (args="-k users -x" for pytest)
	@$(NOT_ROOT) $(BIN)/python -m pytest -m "not drill" $(or $(args),$(PARALLEL) --cov --cov-report=term:skip-covered --cov-report=xml:.hexapost/coverage.xml)

test-drills: $(DEV_SETUP) ## run short drills, 2,000 fuzz cases, generated clients (from PyPI and npm) and a small benchmark (args="-k overload")
	@$(BIN)/python -m pytest -m drill $(or $(args),$(PARALLEL_DRILLS))

check: $(DEV_SETUP) ## check format, lint, types, imports, dependencies, the workflow, Kubernetes manifests, migrations, the OpenAPI document and generated docs
	@$(MAKE) --no-print-directory -j2 check-code check-migrations

check-code: $(DEV_SETUP)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry . --no-ansi
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
	if docker compose version > /dev/null 2>&1; then docker compose --file deploy/compose/compose.yaml --profile '*' config --quiet; fi
	$(BIN)/check-jsonschema --quiet --schemafile tests/deploy/service_monitor.schema.json deploy/kubernetes/components/service-monitor/service-monitor.yaml
	$(BIN)/python -m tests.deploy.kubernetes_manifests

check-migrations: $(DEV_SETUP)
	$(BIN)/python -m migrations.lint.linter
	$(CHECK) with-database --embedded -- $(BIN)/python -m migrations.lint.lock_trace
	$(CHECK) migrate --embedded --phase contract
	$(CHECK) with-database --embedded -- $(BIN)/alembic check
	$(CHECK) with-database --embedded -- $(BIN)/alembic current --check-heads
	$(CHECK) openapi --check openapi.json
	$(BIN)/python -m tests.support.generated_docs --check

migrate: $(RUN_SETUP) ## apply pending migrations (PHASE=contract also removes columns and tables that only older releases need)
	@$(BIN)/hexapost migrate --embedded $(if $(PHASE),--phase "$(PHASE)")

migration: $(DEV_SETUP) ## write a revision with the differences between models and migrations: m="…" (PHASE=contract)
	@test -n "$(m)" || { echo 'usage: make migration m="add users.nickname" [PHASE=contract]' >&2; exit 2; }
	@$(CHECK) migrate --embedded --phase contract
	@$(CHECK) with-database --embedded -- $(BIN)/alembic -x phase=$(or $(PHASE),expand) revision --autogenerate -m "$(m)"

bench: $(DEV_SETUP) ## compare CPU per request and latency with two baselines (report/bench.svg), with other frameworks: PEERS=1, or with a commit: AGAINST=HEAD~3
	@$(BIN)/python -m tests.benchmarks $(if $(PEERS),--peers) $(if $(AGAINST),--against="$(AGAINST)") $(args)

drill: $(DEV_SETUP) ## run one drill (a fault-injection test): NAME=exactly-once
	@$(BIN)/python -m tests.drills $(or $(NAME),"") $(args)

prove: $(DEV_SETUP) ## run every drill in its full form (report/index.html)
	@$(BIN)/python -m tests.drills all $(args)

fuzz: $(DEV_SETUP) ## fuzz a running service with 10,000 requests from openapi.json (args="--cases 50000 --seed 2")
	@$(BIN)/python -m tests.fuzz $(args)

openapi: $(RUN_SETUP) ## write openapi.json
	@$(BIN)/hexapost openapi --write openapi.json

docs: $(DEV_SETUP) ## write the generated parts of docs/: settings, metrics and pictures
	@$(BIN)/python -m tests.support.generated_docs

openapi-lint: ## lint openapi.json with Spectral and Redocly (needs npx)
	npx --yes @stoplight/spectral-cli@6 lint --fail-severity hint --ruleset tests/http/spectral.yaml openapi.json
	npx --yes @redocly/cli@2 lint --extends recommended-strict openapi.json

lock: ## update the locked requirements, with hashes (needs uv)
	$(LOCK) --extra embedded --extra tracing -o requirements.txt pyproject.toml
	$(LOCK) --extra embedded --extra tracing --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	$(LOCK) --extra tracing -c requirements.txt -o requirements-image.txt pyproject.toml
	echo hatchling | $(LOCK) -c requirements.txt -o deploy/image/requirements-build.txt -

image: ## build the container image hexapost (needs Docker; BASE=…, BUILD_BASE=… and PIP_INDEX_URL=… replace the defaults)
	@DOCKER_BUILDKIT=1 docker build --file deploy/image/Dockerfile --tag hexapost \
	    --build-arg BASE --build-arg BUILD_BASE --build-arg PIP_INDEX_URL \
	    --build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) --build-arg REVISION=$$(git rev-parse HEAD) $(args) .

release: $(DEV_SETUP) ## make a release on a clean main: build dist/, commit and tag, push nothing (VERSION=0.2.0)
	@$(BIN)/python -m deploy.release "$(VERSION)"

clean: ## delete all generated files, the embedded database and its pepper (API keys with that pepper stop working)
	rm -rf .venv .hexapost dist report .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# An environment that has the packages of both locks keeps both at the same versions.
$(RUN_SETUP): requirements.txt pyproject.toml
	@$(WRITABLE)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hexapost: Python 3.11 or newer is required, not %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@"$(PYTHON)" deploy/install.py $(if $(wildcard $(DEV_SETUP)),requirements-dev.txt,requirements.txt) --project
	@touch $@

$(DEV_SETUP): requirements-dev.txt $(RUN_SETUP) | writable
	@"$(PYTHON)" deploy/install.py requirements-dev.txt
	@touch $@

writable:
	@$(WRITABLE)
