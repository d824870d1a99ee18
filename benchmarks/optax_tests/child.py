"""Runs a file of optax's tests with this library in optax's place, and writes the outcomes.

`python -m benchmarks.optax_tests.child DIRECTORY FILE OUTCOMES`
"""

import json
import re
import sys
from pathlib import Path

import pytest

from .shim import Shim


class Recorder:
    """A plugin of pytest that records the outcome of each test, and the first line of its error.

    A test fails if one of its subtests does.
    """

    def __init__(self, shim: Shim) -> None:
        self.shim = shim
        self.names: dict[str, str] = {}
        self.outcomes: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ends the reading of files, and finds the name of each test, with its parameters.

        `originalname` lacks the parameters; absl writes them into `id()`.
        """
        self.shim.reading = False
        for item in session.items:
            method = f"{item.cls.__name__}.{item.originalname}"
            _, _, parameters = item.cls(item.originalname).id().partition(method)
            self.names[item.nodeid] = method + re.sub(r" at 0x\w+", "", parameters)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Records a failure; without one, that the test was skipped, or that it passed."""
        name = self.names[report.nodeid]
        outcome, _ = self.outcomes.setdefault(name, ["passed", ""])
        if outcome != "failed" and report.outcome != "passed":
            self.outcomes[name] = [report.outcome, _first_line(report)]


def _first_line(report: pytest.TestReport) -> str:
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
