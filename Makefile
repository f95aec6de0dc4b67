# One command each: `make run` tries mailmoat out, `make test` proves it. Both make what they need below this directory.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# The newest on the path, or that pyenv has.
NEWER ?= $(firstword $(foreach minor,14 13 12,$(shell python3.$(minor) -c 'import sys; print(sys.executable)' 2>/dev/null) \
  $(wildcard $(PYENV_ROOT)/versions/3.$(minor).*/bin/python3.$(minor))))
# Most tests wait for servers: several processes, and each file in one of them, for its tests may share a server. They begin with
# what waits longest (tests/conftest.py), in place of the files with most tests.
PARALLEL ?= -n 4 --dist loadfile --no-loadscope-reorder
# cargo and maturin show their progress themselves.
RUST := $(shell find rust -name '*.rs' 2>/dev/null) Cargo.toml Cargo.lock

# Some images of containers set it: every start of a server in a test would compile all modules again, and every process of pytest all
# tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-rust test-python test-newer conformance lint soak fuzz loadtest bench streams clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "mailmoat needs Python 3.11 or newer; name it with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mailmoat needs Python 3.11 or newer; name it with make PYTHON=...")'
	@echo "==> making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) "maturin>=1.9,<2"
	@touch $@

# maturin installs the dependencies and links the package: an edited Python file needs no new build.
$(VENV)/.built: $(VENV)/.made $(RUST) pyproject.toml
	@command -v cargo >/dev/null || { echo "mailmoat needs a Rust toolchain, 1.87 or newer: https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || { echo "mailmoat needs a C compiler, for SQLite: install gcc or clang"; exit 1; }
	@echo "==> installing the dependencies and building the extension in release mode: a few minutes the first time"
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" PIP_QUIET=1 $(BIN)/maturin develop --release
	@touch $@

$(VENV)/.tested: $(VENV)/.built
	@echo "==> installing what the tests need"
	@$(PIP) $$($(BIN)/python -c 'import tomllib; print(*(d.replace(" ", "") for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"]))')
	@$(BIN)/python -m pip download --disable-pip-version-check -q --no-deps --no-binary pyspf -d $(VENV)/spf pyspf==2.0.14 # its source holds the openspf test suite
	@touch $@

$(VENV)/.loaded: $(VENV)/.built
	@echo "==> installing what load test and comparison need"
	@$(PIP) $$($(BIN)/python -c 'import tomllib; print(*(d.replace(" ", "") for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["load"]))')
	@touch $@

run: $(VENV)/.built ## Build and start a demo server on 127.0.0.1:2525
	$(BIN)/mailmoat serve --demo

test: test-rust test-python ## Build and run all tests; a missing peer is shown as "skipped: install X"

test-rust:
	+cargo test --no-default-features

test-python: $(VENV)/.tested
	@$(BIN)/python --version
	$(BIN)/python -m pytest $(PARALLEL)

# One wheel serves all versions (abi3): it is built by .venv and installed for the other Python.
test-newer: $(VENV)/.tested ## Run the tests of single parts and of the protocol on the newest Python that is here, too
	@[ -n "$(NEWER)" ] || echo "No newer Python is here: install 3.12, 3.13 or 3.14, or name one with make test-newer NEWER=..."
	@[ -z "$(NEWER)" ] || { set -ex; $(NEWER) --version; rm -rf target/wheels; \
	  VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin build --release --quiet --out target/wheels; \
	  $(NEWER) -m venv --clear target/newer; \
	  target/newer/bin/python -m pip install --disable-pip-version-check --quiet "$$(echo target/wheels/*.whl)[test]"; \
		  target/newer/bin/python -m pytest $(PARALLEL) tests/unit tests/transcripts tests/property tests/conformance; }

conformance: $(VENV)/.tested ## Write docs/conformance.md from its tests
	$(BIN)/python -m tests.conformance.table

lint: $(VENV)/.tested ## Check style, types and layering alone
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	$(BIN)/python -m pytest tests/test_*.py

streams: ## A million random SMTP streams against the session machine, each cut four ways
	MAILMOAT_STREAMS=1000000 cargo test --release --no-default-features cuts_change_no_step -- --nocapture

fuzz: $(VENV)/.tested ## Each fuzz target for FUZZ_SECONDS, 60 unless told
	rust/fuzz/run
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(BIN)/python -m pytest --timeout=0 tests/fuzz

soak: $(VENV)/.tested ## The long forms of crash and load tests
	MAILMOAT_TEST_SOAK=1 $(BIN)/python -m pytest tests/crash tests/integration

loadtest: $(VENV)/.loaded ## A minute of good and bad clients at a server it starts; report in loadtest/results/loadtest
	$(BIN)/python -m loadtest.run

bench: $(VENV)/.loaded ## Short comparison with Postfix, aiosmtpd and Haraka, as far as they are installed
	$(BIN)/python -m loadtest.compare

clean: ## Remove everything built; ./var stays
	rm -rf $(VENV) target
