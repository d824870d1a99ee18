"""Runs optax's own tests with `import optax` finding this library: `make optax-tests`.

The test files are downloaded from GitHub, or read from a git clone with `--clones DIR`, which is
DIR/google-deepmind/optax or DIR/google-deepmind+optax/repo. They are deleted after the run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .expected import ExpectedFailures, Verdict
from .page import page, row
from .upstream import write_test_files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "optax_tests.md"


def outcomes(files: Path, file: str, results: Path) -> dict[str, tuple[str, str]]:
    """Runs the tests of a file in a process, unless there are results of an earlier run.

    Returns:
      Name of each test -> passed, skipped or failed, and why.
    """
    if not results.exists():
        command = [sys.executable, "-m", f"{__package__}.child", str(files), file, str(results)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            results.unlink(missing_ok=True)
            return {"(the file)": ("failed", f"{done.stdout}{done.stderr}")}
    return json.loads(results.read_text(encoding="utf-8"))


def main() -> int:
    """Runs the files whose path contains a given text, or all, and writes the page.

    Returns:
      1 if a test fails that is in neither list, or a list names tests that pass or do not exist.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--clones", type=Path, help="directory of clones, instead of GitHub")
    parser.add_argument("--only", default="", help="part of a path; then no page is written")
    parser.add_argument(
        "--keep",
        type=Path,
        help="directory of results; files that have results there are not run again",
    )
    arguments = parser.parse_args()
    expected = ExpectedFailures.read(HERE)
    verdicts: dict[str, list[Verdict]] = {}
    with tempfile.TemporaryDirectory() as directory:
        results = arguments.keep or Path(directory)
        results.mkdir(parents=True, exist_ok=True)
        for file in write_test_files(Path(directory), arguments.clones):
            if arguments.only in file:
                result = results / f"{file.replace('/', '.')}.json"
                tests = outcomes(Path(directory) / "files", file, result)
                verdicts[file] = [expected.verdict(f"{file}::{k}", *v) for k, v in tests.items()]
                print(row(file, verdicts[file]), flush=True)
    complaints = [v.complaint for group in verdicts.values() for v in group if v.complaint]
    if not arguments.only:
        complaints += [f"{pattern}: matches no failing test" for pattern in expected.unused()]
        PAGE.write_text(page(verdicts, expected), encoding="utf-8")
    print("\n".join(complaints))
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
