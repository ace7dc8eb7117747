# make quickstart   set up .venv and sweep a small CNN on handwritten digits
# make test         set up .venv if needed, then the test suite, about nine minutes on two cores
# make long         the tests that take a minute each: outages, kills, clusters that go, all elsewhere, the README
# make check        ruff and mypy
# make screenshots  pictures of every page, in screenshots/
# make chaos        200 kills of a real sweep, about half an hour
# make soak         2,000 trials: memory, file descriptors and databases, about seven minutes
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: quickstart test long check chaos soak screenshots lock clean

# The stamp is written last: an interrupted installation is done again.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old: make $(MAKECMDGOALS) PYTHON=python3.12, or any from 3.11 on"; exit 1; }
	$(PYTHON) -m venv $(if $(wildcard $(READY)),,--clear) .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

quickstart: $(READY)
	$(BIN)/python -m sweeps.examples.quickstart

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

long: $(READY)
	PYTEST_DEBUG_TEMPROOT=$${TMPDIR:-/tmp} $(BIN)/python -m pytest tests/long

# CHAOS_KILLS kills of real sweeps (200); CHAOS_SEED chooses points and instants; the table goes to CHAOS_PAGE.
chaos: $(READY)
	$(BIN)/python -m tests.chaos.campaign --kills $${CHAOS_KILLS:-200} --seed $${CHAOS_SEED:-0} \
		$${CHAOS_PAGE:+--output $$CHAOS_PAGE}

soak: $(READY)
	$(BIN)/python -m tests.benchmarks.soak

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Of made-up sweeps and of a short real one.
screenshots: $(READY)
	$(BIN)/python -m tests.benchmarks.screenshots

# Run after changing dependencies in pyproject.toml, in a fresh .venv.
lock:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/' > requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
