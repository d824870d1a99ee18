"""Runs public programs with optax and with this library in its place: `make programs`.

Their code is read from GitHub, or from clones: `--clones DIR`, where DIR/owner+name/repo or
DIR/owner/name is a clone. It is not kept.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from catalogue import PROGRAMS, Program

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "programs.md"

HEADER = """# Public programs with the import swapped

Written by `make programs`. Each program is one that its authors publish, as it stands there; it
runs once with optax, and once with `sys.modules["optax"]` set to `functional_optim`, so that the
libraries it uses find this one as well. Both runs draw the same random numbers. Times include
compilation, on a machine that was busy: they compare nothing.

"""


FOOTER = """
Rounding differs, so that numbers agree to a few digits, and fewer after many steps. What ends where
rounding decides is left out: `examples/freezing_parameters.ipynb` of optax walks down |x| in steps
of 0.1, and asserts that it ends within 0.01 of the bend. It does, at 0.006, with optax, and at
-0.013 here.

The last search of `lbfgs.ipynb` starts at a value of 1e18 in float32, from a first step that
overflows: optax's zoom comes back from it, and ours does not.
"""


def code(program: Program, clones: Path | None) -> bytes:
    """The program's file, at its commit."""
    if clones is None:
        url = f"https://raw.githubusercontent.com/{program.repository}/{program.commit}"
        with urllib.request.urlopen(f"{url}/{program.path}") as answer:
            return answer.read()
    places = (
        clones / program.repository,
        clones / program.repository.replace("/", "+") / "repo",
    )
    clone = next(place for place in places if place.exists())
    command = ["git", "-C", str(clone), "show", f"{program.commit}:{program.path}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def outcome(file: Path, library: str, program: Program) -> dict[str, float] | str:
    """Result and seconds of a run, or the last line of its error."""
    command = [sys.executable, str(HERE / "child.py"), str(file), library, program.result]
    done = subprocess.run(command, capture_output=True, text=True, cwd=file.parent, env=_quiet())
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def _quiet() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}


def row(program: Program, clones: Path | None) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / Path(program.path).name
        file.write_bytes(code(program, clones))
        results = [outcome(file, library, program) for library in ("optax", "functional_optim")]
    link = f"https://github.com/{program.repository}/blob/{program.commit}/{program.path}"
    name = f"[{program.repository}: {Path(program.path).name}]({link})"
    cells = [r if isinstance(r, str) else f"{r['value']:.6g}" for r in results]
    seconds = ["" if isinstance(r, str) else f"{r['seconds']:.0f} s" for r in results]
    return f"| {name} | {program.what} | {' | '.join(cells)} | {' / '.join(seconds)} |"


def main() -> None:
    """Runs those programs whose path contains a given text, or all, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clones", type=Path, help="directory of clones, instead of GitHub")
    parser.add_argument("--only", default="", help="part of a path; then no page is written")
    arguments = parser.parse_args()
    lines = []
    for program in PROGRAMS:
        if arguments.only in program.path:
            lines.append(row(program, arguments.clones))
            print(lines[-1], flush=True)
    if not arguments.only:
        head = "| program | at its end | optax | functional_optim | time |\n|---|---|---|---|---|\n"
        PAGE.write_text(HEADER + head + "\n".join(lines) + "\n" + FOOTER, encoding="utf-8")


if __name__ == "__main__":
    main()
