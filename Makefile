# One command each: `make run` tries mailmoat out, `make test` proves it. Both make what they need below this directory.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cargo and maturin show their progress themselves.
RUST := $(shell find rust -name '*.rs' 2>/dev/null) Cargo.toml Cargo.lock

.PHONY: help run test lint soak loadtest bench streams clean

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@echo "==> making $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mailmoat needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.built: $(BIN)/python $(RUST) pyproject.toml
	@command -v cargo >/dev/null || { echo "mailmoat needs a Rust toolchain: https://rustup.rs"; exit 1; }
	@echo "==> building the extension and installing mailmoat into $(VENV)"
	$(BIN)/pip install --progress-bar=on --quiet "maturin>=1.9,<2"
	$(BIN)/pip install --progress-bar=on --quiet --disable-pip-version-check $$($(BIN)/python -c 'import tomllib; print(*(repr(d) for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))')
	VIRTUAL_ENV=$(CURDIR)/$(VENV) PATH=$(CURDIR)/$(BIN):$$PATH maturin develop --release --skip-install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.built
	@echo "==> installing what the tests need"
	$(BIN)/pip install --progress-bar=on --quiet --disable-pip-version-check $$($(BIN)/python -c 'import tomllib; print(*(repr(d) for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"]))')
	@touch $@

$(VENV)/.loaded: $(VENV)/.built
	@echo "==> installing what load test and comparison need"
	$(BIN)/pip install --progress-bar=on --quiet --disable-pip-version-check $$($(BIN)/python -c 'import tomllib; print(*(repr(d) for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["load"]))')
	@touch $@

run: $(VENV)/.built ## Build and start a demo server on 127.0.0.1:2525
	$(BIN)/mailmoat serve --demo

test: $(VENV)/.tested ## Build and run all tests; a missing peer is shown as "skipped: install X"
	cargo test --no-default-features
	$(BIN)/python -m pytest

lint: $(VENV)/.tested ## Check style, types and layering alone
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	$(BIN)/python -m pytest tests/test_architecture.py

streams: ## A million random SMTP streams against the session machine, each cut four ways
	MAILMOAT_STREAMS=1000000 cargo test --release --no-default-features cuts_change_no_step -- --nocapture

soak: $(VENV)/.tested ## The long forms of crash and load tests
	MAILMOAT_TEST_SOAK=1 $(BIN)/python -m pytest tests/crash tests/integration

loadtest: $(VENV)/.loaded ## A minute of good and bad clients at a server it starts; report in loadtest/results/loadtest
	$(BIN)/python -m loadtest.run

bench: $(VENV)/.loaded ## Short comparison with Postfix, aiosmtpd and Haraka, as far as they are installed
	$(BIN)/python -m loadtest.compare

clean: ## Remove everything built; ./var stays
	rm -rf $(VENV) target
