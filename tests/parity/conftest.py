"""A live comparison with torch, on new random numbers: `make parity`. It needs torch."""

import dataclasses
import importlib.util
import os
import time

import jax
import pytest

from ..compiling import UNOPTIMIZED, USUAL, flags

# Programs are compiled as for users; those of tests/optim are compiled quickly.
os.environ["XLA_FLAGS"] += f" {flags(USUAL)}"
jax.config.update(UNOPTIMIZED, False)

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*.py"]

# Through the environment, so that processes share it; `make parity PARITY_SEED=7` fixes it.
SEED = int(os.environ.setdefault("PARITY_SEED", str(time.time_ns() % 10**6)))
NOTES = pytest.StashKey[dict[tuple[str, str], "Note"]]()


@dataclasses.dataclass
class Note:
    """The error of a class and dtype that came nearest to its bound, and the tests that ran."""

    tests: set[str] = dataclasses.field(default_factory=set)
    error: float = 0.0
    bound: float = 1.0
    where: str = ""


def pytest_configure(config):
    config.stash[NOTES] = {}


def pytest_report_header(config):
    return f"PARITY_SEED={SEED}"


@pytest.fixture
def note(pytestconfig, request):
    """Provides a function that notes an error of a class and dtype, for the table at the end."""
    notes = pytestconfig.stash[NOTES]

    def write(name, dtype, error, where, bound=1e-12):
        found = notes.setdefault((name, dtype), Note())
        found.tests.add(request.node.nodeid)
        if error / bound >= found.error / found.bound:
            found.error, found.bound, found.where = error, bound, where

    return write


def pytest_terminal_summary(terminalreporter, config):
    notes = config.stash[NOTES]
    if notes:
        terminalreporter.section(f"largest errors, relative (PARITY_SEED={SEED})")
        terminalreporter.write_line(f"{'':<40} {'tests':>5} {'error':>8} {'bound':>8}")
    for (name, dtype), found in sorted(notes.items()):
        count, error, bound = len(found.tests), found.error, found.bound
        line = f"{name:<28} {dtype:<12} {count:>4} {error:8.1e} {bound:8.1e}  {found.where}"
        terminalreporter.write_line(line)
