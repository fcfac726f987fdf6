# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
PORT ?= 8000
WORKERS ?= 1
VENV := .venv
BIN := $(VENV)/bin
EMBEDDED := $(BIN)/python -m scraper_site.embedded
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help run test check format lint types layers migrations deploy-check bench faults screenshots requirements clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## start everything and scrape a first page; ONCE=1 exits after it; PORT=, WORKERS=
	@$(BIN)/python manage.py up --port $(PORT) --workers $(WORKERS) $(if $(ONCE),--once)

test: $(VENV)/.dev ## run the test suite on engines of its own; ARGS= goes to pytest
	@$(PYTEST) $(ARGS)

check: lint types layers migrations deploy-check test ## everything that CI checks

format: $(VENV)/.dev ## rewrite the code in the project's format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(VENV)/.dev
	@SECRET_KEY=$(FAKE_KEY) DATABASE_URL=postgres:// REDIS_URL=redis:// $(BIN)/mypy .

layers: $(VENV)/.dev
	@$(BIN)/lint-imports

migrations: $(VENV)/.dev
	@$(EMBEDDED) --data-dir .local/check -- $(BIN)/python manage.py makemigrations --check --dry-run

deploy-check: $(VENV)/.dev
	@$(EMBEDDED) --data-dir .local/check -- env HTTPS=true $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(VENV)/.run ## measure the worker against a bare loop over the same pages
	@$(EMBEDDED) -- $(BIN)/python manage.py benchmark throughput $(ARGS)

faults: $(VENV)/.dev ## break everything, check that nothing is lost; ARGS="--seed N --duration S --json FILE"
	@$(BIN)/python -m tests.faults $(ARGS)

screenshots: $(VENV)/.dev ## put load on the service for some minutes and write docs/images
	@rm -rf .local/screenshots-data
	@$(EMBEDDED) --data-dir .local/screenshots-data -- $(BIN)/python -m performance.benchmarks.screenshots

requirements: $(VENV)/.dev ## compile requirements*.txt again from pyproject.toml
	@$(call compile,requirements.txt)
	@$(call compile,requirements-embedded.txt,--group embedded -c requirements.txt)
	@$(call compile,requirements-dev.txt,--group dev -c requirements.txt)

clean: ## remove the virtual environment and all local data
	rm -rf $(VENV) .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

FAKE_KEY := only-for-type-checking-0123456789abcdef

define compile
$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make requirements' pyproject.toml $(2) -o $(1)
endef

define install
$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing. On Debian: apt install python3-venv"; exit 1; }
$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
touch $@
endef

$(VENV)/.run: requirements-embedded.txt
	@echo "Installing into $(VENV) …"
	@$(call install,requirements-embedded.txt)

$(VENV)/.dev: requirements-dev.txt
	@echo "Installing into $(VENV) …"
	@$(call install,requirements-dev.txt)
	@touch $(VENV)/.run
