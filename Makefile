# Everything runs in .venv, which is made on demand and made again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
# -P: without the current folder, where `import rpc` and `import transports` would find a second copy of the package.
RUN := $(VENV)/bin/python -P -m
PIP := $(RUN) pip --quiet --no-input --disable-pip-version-check
SOURCES := gemstone_events transports rpc tests examples benchmarks scripts

export PIP_ROOT_USER_ACTION ?= ignore
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/$(VENV)/home
endif

.NOTPARALLEL:
.PHONY: help demo test pytest lint types imports format benchmarks servers clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.installed ## watch a shop of several services work, with no broker and no set-up
	@$(VENV)/bin/python examples/shop/demo.py $(ARGS)

test: $(VENV)/.developing servers ## everything that CI checks: lint, types, import rules, tests
	@failed=""; \
	for check in lint types imports; do $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; done; \
	$(RUN) pytest; status=$$?; \
	if [ -n "$$failed" ]; then echo "make test: failed as well, see above:$$failed" >&2; exit 1; fi; \
	exit $$status

lint: $(VENV)/.developing ## ruff: mistakes and formatting
	@$(RUN) ruff check --quiet $(wildcard $(SOURCES)) && $(RUN) ruff format --check --quiet $(wildcard $(SOURCES))

types: $(VENV)/.developing ## mypy --strict
	@$(RUN) mypy

imports: $(VENV)/.developing ## the import rules of pyproject.toml
	@$(VENV)/bin/lint-imports --no-cache --no-logo

format: $(VENV)/.developing ## format and mend what ruff can
	@$(RUN) ruff check --quiet --fix $(wildcard $(SOURCES)); $(RUN) ruff format $(wildcard $(SOURCES))

benchmarks: $(VENV)/.benchmarking servers ## measure, side by side in one run
	@failed=""; \
	for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(VENV)/bin/python $$script || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "make benchmarks: failed, see above:$$failed" >&2; exit 1; fi

servers: # install the servers that the tests start privately, where they are missing and we may
	@sh scripts/install-servers.sh

clean: ## delete what make has made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: scripts/make-venv.sh
	@sh scripts/make-venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "Installing gemstone_events into $(VENV) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	@echo "Installing the development tools into $(VENV) ..."
	@$(VENV)/bin/python scripts/requirements.py dev > $(VENV)/dev.txt
	@$(PIP) install --requirement $(VENV)/dev.txt
	@touch $@

$(VENV)/.benchmarking: $(VENV)/.developing
	@$(VENV)/bin/python scripts/requirements.py benchmarks > $(VENV)/benchmarks.txt
	@$(PIP) install --requirement $(VENV)/benchmarks.txt
	@touch $@
