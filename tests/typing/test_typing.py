"""Type checkers accept the right uses of the package, and report each wrong one."""

import functools
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = ("accepted.py", "refused.py")

Errors = set[tuple[str, int]]
"""Page and line of each error."""


# As a user runs it, for whom errors within an installed package are silent.
MYPY = ("--strict", "--follow-imports=silent", f"--config-file={os.devnull}")
COMMANDS = {"mypy": MYPY, "pyright": ("--outputjson", f"--pythonpath={sys.executable}")}


@functools.cache
def checkers() -> dict[str, subprocess.Popen[str]]:
    """Starts the installed checkers together, each on both pages."""
    pages = [str(HERE / page) for page in PAGES]
    return {
        tool: subprocess.Popen(
            [sys.executable, "-m", tool, *options, *pages],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for tool, options in COMMANDS.items()
        if importlib.util.find_spec(tool)
    }


@functools.cache
def errors_of(tool: str) -> Errors:
    """Returns the errors that a checker finds; skips if it is not installed."""
    if tool not in checkers():
        pytest.skip(f"{tool} is not installed: pip install {tool}, or the extra dev")
    output, problems = checkers()[tool].communicate(timeout=300)
    assert output, problems
    return READERS[tool](output)


def read_mypy(output: str) -> Errors:
    lines = re.findall(r"^\S*?(\w+\.py):(\d+): error:", output, flags=re.MULTILINE)
    return {(page, int(line)) for page, line in lines}


def read_pyright(output: str) -> Errors:
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in json.loads(output)["generalDiagnostics"]
        if each["severity"] == "error"
    }


READERS = {"mypy": read_mypy, "pyright": read_pyright}


@pytest.mark.parametrize("tool", COMMANDS)
def test_right_uses_are_accepted(tool):
    assert {line for page, line in errors_of(tool) if page == "accepted.py"} == set()


def test_right_uses_run():
    runpy.run_path(str(HERE / "accepted.py"))


@pytest.mark.parametrize("tool", COMMANDS)
def test_each_wrong_use_is_refused(tool):
    lines = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    wrong = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) > 40
    assert {line for page, line in errors_of(tool) if page == "refused.py"} == wrong
