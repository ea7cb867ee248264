# Needs Python 3.11 or later, git and make; everything else is installed into .venv and .venv-apps beside this file.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
VENV := .venv
APPS := .venv-apps
PIP := -m pip --quiet --disable-pip-version-check
PYTEST_ARGS ?=
# Tests at once: 0 one by one, auto one for each processor, or a number.
JOBS ?= auto
DEMO_ARGS ?=
BENCH_ARGS ?=
FUZZ_SECONDS ?= 60
SOAK_ARGS ?= --minutes 5

.PHONY: help demo test test-deb check deb format bench-fleet bench-reload bench-sleep bench-serve bench-cron fuzz soak clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed $(APPS)/.installed ## Serve three example apps; Ctrl-C stops them (DEMO_ARGS=--check: try and stop)
	@exec $(VENV)/bin/python examples/demo.py $(DEMO_ARGS)

test: $(VENV)/.installed-dev $(APPS)/.installed ## Run all tests (PYTEST_ARGS="-k reload", JOBS=0: one by one)
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-deb: $(VENV)/.installed-dev ## Build the Debian package, install and run it in Debian 12 and 13 (root)
	$(VENV)/bin/python -m pytest tests/debian $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## Lint, format check, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed-dev ## Format, and fix what can be fixed
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

deb: $(VENV)/.installed ## Build the Debian package for this machine's release into dist/
	@PIP="$(VENV)/bin/python $(PIP)" packaging/make-deb dist

bench-fleet: $(VENV)/.installed-dev ## Measure a fleet's life beside uWSGI's emperor, some 15 minutes
	$(VENV)/bin/python bench/fleet.py $(BENCH_ARGS)

bench-reload: $(VENV)/.installed-dev ## Measure answer times through a touch and a broken deploy, beside uWSGI
	$(VENV)/bin/python bench/reload.py $(BENCH_ARGS)

bench-sleep: $(VENV)/.installed-dev ## Measure a thousand and ten thousand parked vassals
	$(VENV)/bin/python bench/sleep.py $(BENCH_ARGS)

bench-serve: $(VENV)/.installed-dev ## Measure the app server beside granian, bjoern, uWSGI, gunicorn and waitress
	$(VENV)/bin/python bench/serve.py $(BENCH_ARGS)

bench-cron: $(VENV)/.installed-dev ## Measure what a thousand cron entries cost a master
	$(VENV)/bin/python bench/cron.py $(BENCH_ARGS)

fuzz: $(VENV)/.installed-dev ## Feed both protocols with hostile bytes (FUZZ_SECONDS=60)
	$(VENV)/bin/python tests/fuzz.py $(FUZZ_SECONDS)

soak: $(VENV)/.installed-dev ## A hundred vassals in a storm, under load (SOAK_ARGS="--minutes 5 --seed 7")
	$(VENV)/bin/python -m tests.soak $(SOAK_ARGS)

clean: ## Remove the environments, caches and the demo's data
	rm -rf $(VENV) $(APPS) examples/.state build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Finds a Python that is new enough and can make environments, or says what is missing. $$python is set afterwards.
define find_python
	set -eu; python=; seen=; \
	for candidate in $(PYTHON); do \
		if version=$$($$candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then \
			seen="$$seen $$candidate=$$version"; \
			if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$$candidate; break; fi; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Emperor needs Python 3.11 or later; found:$${seen:- none}. Name one with: make PYTHON=/path/to/python3" >&2; \
		exit 2; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		package=python$$version-venv; \
		if [ "$$(readlink -f "$$(command -v $$python)")" = "$$(readlink -f /usr/bin/python3)" ]; then package=python3-venv; fi; \
		echo "$$python (Python $$version) cannot make virtual environments. As root:" >&2; \
		echo "    apt install $$package" >&2; \
		exit 2; \
	fi
endef

# An environment is made anew when its Python is missing or no longer works (removed, upgraded, or made half).
$(VENV)/.installed: pyproject.toml
	@if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then \
		$(find_python); \
		echo "Making $(VENV) with $$python (Python $$version)"; \
		rm -rf $(APPS); \
		$$python -m venv --clear $(VENV); \
	fi
	@echo "Installing Emperor into $(VENV)"
	@$(VENV)/bin/python $(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools for development into $(VENV)"
	@$(VENV)/bin/python $(PIP) install --use-pep517 --editable '.[dev]'
	@touch $@

$(APPS)/.installed: examples/requirements.txt | $(VENV)/.installed
	@if ! $(APPS)/bin/python -m pip --version >/dev/null 2>&1; then $(VENV)/bin/python -m venv --clear $(APPS); fi
	@echo "Installing the example apps' packages into $(APPS)"
	@$(APPS)/bin/python $(PIP) install --requirement examples/requirements.txt
	@touch $@
