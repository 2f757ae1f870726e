# make demo    the tool at work: a ping between two containers of the embedded lab
# make test    all tests; Docker tests where an engine answers
# make test-long  the same with many more drawn examples, and new ones each time
# make lint    ruff, mypy, import-linter
# make bench   benchmark tables
# make setup   only install: system packages, .venv, compiled loops
# make build   compile the loops that have changed
# make signatures  write anew for arguments of which kinds loops are compiled
# Everything is installed by the first run; later runs find it.

VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SOURCES := $(shell find analyzer -name '*.py' -o -name signatures.txt 2>/dev/null)
WORKERS := -n auto --maxprocesses 4 --dist loadgroup
KEEP := --preserve-env=VETHSCOPE_REQUIRE,VETHSCOPE_LONG,DOCKER_HOST,NO_COLOR,CI,PYTEST_ADDOPTS
SUDO = $(shell [ "$$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || echo sudo -n $(KEEP))

.PHONY: demo test test-long lint bench setup build signatures packages test-packages

demo: setup
	@$(SUDO) $(BIN)/vethscope demo

test: setup test-packages
	@$(SUDO) $(BIN)/python -m pytest $(WORKERS)

test-long: setup test-packages
	@VETHSCOPE_LONG=1 $(SUDO) $(BIN)/python -m pytest $(WORKERS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@if [ -d tests/bench ]; then $(SUDO) $(BIN)/python -m pytest tests/bench -q -s --bench; \
	else echo "no benchmarks: tests/bench does not exist"; fi

setup build: $(VENV)/.compiled

signatures: $(VENV)/.installed
	@$(BIN)/python -m analyzer.app.signatures

packages:
	@PYTHON=$(PYTHON) .ci/packages run

test-packages: | packages
	@PYTHON=$(PYTHON) .ci/packages test

$(VENV)/.installed: setup.cfg pyproject.toml Makefile | packages
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"vethscope: needs Python 3.11 or later, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11")'
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	@echo "vethscope: installing the project into $(VENV)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@# isolated (-I): Python takes nothing from PYTHON*, or from a user's packages (SECURITY.md)
	@sed -i -E -e '1s|^(#!.*/python[0-9.]*)$$|\1 -I|' \
	  -e "2s|^('''exec' .*/python[0-9.]*\"?) |\1 -I |" $(BIN)/vethscope
	@touch $@

$(VENV)/.compiled: $(VENV)/.installed $(SOURCES)
	@echo "vethscope: compiling" >&2
	@$(BIN)/python -m compileall -q analyzer
	@$(BIN)/python -m analyzer.native.building || [ $$? = 3 ] # no linker: loops are interpreted
	@touch $@
