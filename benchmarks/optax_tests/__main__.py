"""Runs optax's own tests with this library in optax's place: `make optax-tests`.

The tests are read from GitHub, or from a clone: `--clones DIR`, where DIR/google-deepmind/optax or
DIR/google-deepmind+optax/repo is one. They are not kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from . import theirs
from .lists import Lists, Verdict
from .page import page, row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "optax_tests.md"


def outcomes(files: Path, file: str, written: Path) -> dict[str, tuple[str, str]]:
    """Name of each test of a file -> passed, skipped or failed, and why."""
    if not written.exists():
        command = [sys.executable, "-m", f"{__package__}.child", str(files), file, str(written)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            written.unlink(missing_ok=True)
            return {"(the file)": ("failed", f"{done.stdout}{done.stderr}")}
    return json.loads(written.read_text(encoding="utf-8"))


def main() -> int:
    """Runs the files whose path contains a given text, or all, and writes the page.

    Returns:
      1 if a test fails that no list has, or the lists have what they should not.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--clones", type=Path, help="directory of clones, instead of GitHub")
    parser.add_argument("--only", default="", help="part of a path; then no page is written")
    parser.add_argument("--keep", type=Path, help="where to put outcomes, and find those of before")
    arguments = parser.parse_args()
    lists = Lists.read(HERE)
    verdicts: dict[str, list[Verdict]] = {}
    with tempfile.TemporaryDirectory() as place:
        kept = arguments.keep or Path(place)
        kept.mkdir(parents=True, exist_ok=True)
        for file in theirs.put_into(Path(place), arguments.clones):
            if arguments.only in file:
                written = kept / f"{file.replace('/', '.')}.json"
                found = outcomes(Path(place) / "files", file, written)
                verdicts[file] = [lists.verdict(f"{file}::{k}", *v) for k, v in found.items()]
                print(row(file, verdicts[file]), flush=True)
    wrong = [v.complaint for found in verdicts.values() for v in found if v.complaint]
    if not arguments.only:
        wrong += [f"{pattern}: no failing test is named so" for pattern in lists.unused()]
        PAGE.write_text(page(verdicts, lists), encoding="utf-8")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
