# Every target makes what it needs: a virtual environment, and in it the extra it runs on.
# Arguments pass through ARGS: make demo ARGS="--epochs 5", make test ARGS="-k adam".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
CONSTRAINTS ?=
TORCH := torch==2.15.0

.PHONY: demo examples test docs docs-site docs-links release api notebooks lint format types bench race parity programs optax-tests clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(BIN)/python -m functional_optim $(ARGS)

# All programs that docs/examples.md lists, or one: make examples EXAMPLES=characters ARGS="--seed 1".
EXAMPLES ?= characters fine_tuning fsdp gan gridworld heat_equation torch_checkpoint variational

examples: $(VENV)/demo.stamp
	for name in $(EXAMPLES); do $(BIN)/python examples/$$name.py $(ARGS) || exit; done

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(ARGS)

docs: $(VENV)/test.stamp
	$(BIN)/python -m pytest functional_optim tests/test_docs.py $(ARGS)

# The site, in out/docs/html.
docs-site: $(VENV)/docs.stamp
	$(BIN)/python docs/build_site.py $(ARGS)

# Opt-in: asks every address to which the site links.
docs-links: $(VENV)/docs.stamp
	$(BIN)/python docs/build_site.py -b linkcheck $(ARGS)

# What is uploaded to PyPI: make release REPOSITORY=https://host/owner/name SITE=https://...
release: $(VENV)/test.stamp
	$(BIN)/python docs/build_release.py $(REPOSITORY) $(SITE)

api: $(VENV)/test.stamp
	$(BIN)/python docs/api.py

notebooks: $(VENV)/dev.stamp
	$(BIN)/jupyter-execute $(ARGS) notebooks/*.ipynb

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/dev.stamp
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/python -m pytest tests/typing -k mypy

bench: $(VENV)/test.stamp
	$(BIN)/python -m functional_optim.native
	$(BIN)/python benchmarks/run.py $(ARGS)

# Every optimizer on small tasks, one to two hours; it goes on where it was: make race ARGS="--tasks mlp".
race: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.race $(ARGS)

# Opt-in: torch is large, and no other target needs it.
parity: $(VENV)-parity/test.stamp
	$(VENV)-parity/bin/python -m pip install --quiet $(TORCH)
	$(VENV)-parity/bin/python -m pytest tests/parity $(ARGS)

# Opt-in: programs that others publish, which it reads from GitHub, with optax and with this library.
programs: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet diffrax
	$(BIN)/python benchmarks/programs/run.py $(ARGS)

# Opt-in: optax's own tests, which it reads from GitHub, with this library in optax's place.
optax-tests: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.optax_tests $(ARGS)

# An extra, installed once until pyproject.toml changes; in the versions of a file, if CONSTRAINTS
# names one. Python compiles what it imports: to compile all modules takes pip as long again as to
# unpack them.
%.stamp: pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --no-compile $(addprefix --constraint ,$(CONSTRAINTS)) --editable '.[$(*F)]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
