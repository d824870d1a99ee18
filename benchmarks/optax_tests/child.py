"""Runs a file of optax's tests with this library in optax's place, and writes what came of each.

`python -m benchmarks.optax_tests.child DIRECTORY FILE OUTCOMES`
"""

import json
import re
import sys
from pathlib import Path

import pytest

from .shim import Shim


class Recorder:
    """A plugin of pytest: the outcome of each test, and the last line of its error.

    A test fails if one of its subtests does.
    """

    def __init__(self, shim: Shim) -> None:
        self.shim = shim
        self.names: dict[str, str] = {}
        self.outcomes: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All files are read; `id()` of a test holds its parameters, as its name does not."""
        self.shim.reading = False
        for item in session.items:
            method = f"{item.cls.__name__}.{item.originalname}"
            _, _, parameters = item.cls(item.originalname).id().partition(method)
            self.names[item.nodeid] = method + re.sub(r" at 0x\w+", "", parameters)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps what went wrong, or else that the test was left out, or passed."""
        name = self.names[report.nodeid]
        outcome, _ = self.outcomes.setdefault(name, ["passed", ""])
        if outcome != "failed" and report.outcome != "passed":
            self.outcomes[name] = [report.outcome, _last_line(report)]


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return text.strip().split("\n")[0]


def main() -> int:
    """Writes name -> [passed, skipped or failed; why] as JSON; returns pytest's exit code."""
    directory, file, outcomes = sys.argv[1:]
    shim = Shim(Path(directory), file)
    shim.install()
    recorder = Recorder(shim)
    settings = ["--config-file", "/dev/null", "--rootdir", directory, "--import-mode", "importlib"]
    quiet = ["-q", "--tb", "short", "-p", "no:cacheprovider", "-p", "no:doctest"]
    code = pytest.main([*settings, *quiet, f"{directory}/{file}"], plugins=[recorder])
    Path(outcomes).write_text(json.dumps(recorder.outcomes), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
