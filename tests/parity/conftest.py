"""A live comparison with torch, on fresh numbers: `make parity`. Without torch, nothing."""

import importlib.util
import os
import time

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*.py"]

SEED = int(os.environ.get("PARITY_SEED", time.time_ns() % 10**6))
WORST = pytest.StashKey[dict[tuple[str, str], tuple[float, str]]]()


def pytest_configure(config):
    config.stash[WORST] = {}


def pytest_report_header(config):
    return f"PARITY_SEED={SEED}"


@pytest.fixture
def note(pytestconfig):
    """Notes an error of a class and dtype, for the table at the end."""
    worst = pytestconfig.stash[WORST]

    def write(name, dtype, error, where):
        worst[name, dtype] = max(worst.get((name, dtype), (0.0, "")), (error, where))

    return write


def pytest_terminal_summary(terminalreporter, config):
    worst = config.stash[WORST]
    if worst:
        terminalreporter.section(f"largest errors, relative (PARITY_SEED={SEED})")
    for (name, dtype), (error, where) in sorted(worst.items()):
        terminalreporter.write_line(f"{name:<20} {dtype:<12} {error:8.1e}  {where}")
