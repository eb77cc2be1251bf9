# `make` lists what there is. Needs Python 3.11 to 3.14, git and GNU make 3.81 or newer; nothing else.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python

# With this set every Airflow process would compile all of Airflow anew: 9 s instead of 4 s of processor time.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONHOME
unexport PYTHONPATH
unexport VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One stamp for each set of extras and each content of the two files, so that a second call is instant and a
# changed pin is noticed whatever the files' times are. `dev` contains `local`.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
DEV := $(VENV)/installed-dev-$(KEY)
LOCAL := $(or $(wildcard $(DEV)),$(VENV)/installed-local-$(KEY))

.DEFAULT_GOAL := help
.PHONY: help demo up test lint unit contract properties e2e bench format lock install clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make demo KEEP=1      leave everything running afterwards, to look around'
	@echo '  make demo MODEL=real  with the real model; costs money, needs ANTHROPIC_API_KEY'
	@echo '  make demo SCENARIO=…  one more turn in the story: review, conflict, flaky, queue, escalate'
	@echo '  make demo AGENT=codex with Codex as the agent program; MODEL=real then needs OPENAI_API_KEY'

demo: $(LOCAL)  ## take the sample repository's issue to a merged pull request, with no account
	@AGENT='$(AGENT)' KEEP='$(KEEP)' MODEL='$(MODEL)' SCENARIO='$(SCENARIO)' UNSANDBOXED='$(UNSANDBOXED)' exec $(PY) -m demo

up: $(LOCAL)  ## work on tickets of your own GitHub with your own model, until Ctrl-C; says what it needs
	@AGENT='$(AGENT)' UNSANDBOXED='$(UNSANDBOXED)' PORT='$(PORT)' exec $(PY) -m demo.up

# A recipe and not prerequisites: prerequisites may run in any order, and this one is cheapest first.
test: $(DEV)  ## lint, then all tests, cheapest first; stops at the first failure
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory contract
	@$(MAKE) --no-print-directory e2e

lint: $(DEV)  ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# pytest ends with 5 where it finds no test; only that is forgiven.
define pytest
$(PY) -m pytest $(1) $(PYTEST_ARGS) || { code=$$?; test $$code -eq 5 || exit $$code; }
endef

unit: $(DEV)  ## tests of single modules
	$(call pytest,-n 3 --dist worksteal tests/unit)

contract: $(DEV)  ## tests with the real programs: what we rely on in them, and attacks on what we built
	$(call pytest,-n 3 --dist worksteal tests/contract tests/attacks)

properties: $(DEV)  ## thousands of drawn histories of landing, others each time; HISTORIES=20000 for more
	@LANDING_HISTORIES='$(or $(HISTORIES),3000)' $(PY) -m pytest tests/contract/landing $(PYTEST_ARGS)

e2e: $(DEV)  ## tests of the whole system, with a real Airflow
	$(call pytest,--timeout 420 tests/e2e)

bench: $(DEV)  ## what the parts cost, held to their targets, on a machine at rest; CONTRIBUTING.md lists them
	$(call pytest,-s tests/bench)

format: $(DEV)  ## put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(DEV)  ## make .venv with everything that developing needs

lock: $(DEV)  ## write constraints.txt anew, with the newest versions that fit
	@$(PY) -m pip install --quiet uv
	@echo uv | $(BIN)/uv pip compile pyproject.toml - --extra dev --universal --python-version 3.11.5 \
	  --fork-strategy fewest --upgrade --quiet --no-header --no-annotate --output-file $(VENV)/locked.txt
	@{ sed -n '/^#/p' constraints.txt; \
	  sed -n -e "/sys_platform == 'win32'/d" -e "/sys_platform == 'emscripten'/d" -e 's/ ;.*//p' -e '/^[a-z0-9].*==[^;]*$$/p' \
	    $(VENV)/locked.txt | LC_ALL=C sort -u; } > $(VENV)/constraints.txt
	@twice=$$(sed -n 's/==.*//p' $(VENV)/constraints.txt | uniq -d); \
	if [ -n "$$twice" ]; then echo "More than one version of: $$twice" >&2; exit 1; fi
	@mv $(VENV)/constraints.txt constraints.txt

clean:  ## remove .venv, the demo's data and all caches
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# uv is many times as fast as pip, but does not read pip's settings (mirror, certificates): it is given the
# mirror, and pip does the work where uv cannot.
$(VENV)/installed-%-$(KEY): | $(PY)
	@echo 'Installing into $(VENV); this takes a minute or two the first time …'
	@index="$${PIP_INDEX_URL:-$$($(PY) -m pip config get global.index-url 2>/dev/null)}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
	{ $(PY) -m pip install --quiet -c constraints.txt uv \
	    && $(BIN)/uv pip install --quiet --python $(PY) --compile-bytecode -c constraints.txt -e '.[$*]'; } \
	|| { echo 'uv did not get through; trying pip …' \
	    && $(PY) -m pip install --quiet -c constraints.txt -e '.[$*]'; }
	@rm -f $(VENV)/installed-$*-*
	@touch $@

# By running each candidate: a name on the PATH may be a shim that only says "not installed".
$(PY):
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
	      2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version) …"; \
	    exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo 'No Python from 3.11 to 3.14 with the module venv was found. Install one (on Debian and Ubuntu:' >&2; \
	echo 'apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 …' >&2; \
	exit 1
