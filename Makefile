# `make help` lists what there is. Everything installs itself into .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
# Hundreds of processes start in the tests: what they import is compiled once, whatever is set.
export PYTHONDONTWRITEBYTECODE :=
READY := .venv/.ready
# A file's tests stay together, and the files come in their order: the longest are not the last.
TESTS := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"
	@echo "installing (about 1.5 minutes the first time)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

install: $(READY) ## make .venv with everything in it

demo: $(READY) ## from real data to a ranked feed, in ./demo
	@$(BIN)/bowerbird demo demo

test: check $(READY) ## all checks and all tests
	@sh scripts/parts.sh
	$(TESTS)

test-fast: $(READY) ## the tests for work, under a minute
	$(TESTS) -m "not slow" -x

check: $(READY) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## every benchmark, as ratios with the machine's facts
	$(BIN)/python -m benchmarks

docs: $(READY) ## only the tests of the docs
	$(BIN)/python -m pytest tests/docs

pins: $(READY) ## resolve constraints.txt anew
	@printf '# Exact versions that were tried together, for every extra, on Python 3.11 to 3.13.\n# Made by `make pins`; no registry host stands here.\n' > constraints.new
	@printf 'torch==2.13.0\n' > .venv/pinned.txt
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url -c .venv/pinned.txt --upgrade --quiet >> constraints.new
	@mv constraints.new constraints.txt

clean: ## remove what was built, and the demo
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help install demo test test-fast check format bench docs pins clean
.DEFAULT_GOAL := help
