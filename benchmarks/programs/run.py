"""Runs public programs with optax and with this library in its place: `make programs`.

Their code is read from GitHub, or from clones: `--clones DIR`, where DIR/owner+name/repo or
DIR/owner/name is a clone. It is not kept.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from catalogue import PROGRAMS, Program

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "programs.md"
LIBRARIES = ("optax", "functional_optim")

HEADER = """# Public programs with the import swapped

This page, which `make programs` writes, shows how well published programs run with
`import functional_optim as optax`. Each program is unchanged. It runs once with optax, and once
with `sys.modules["optax"]` set to `functional_optim`, so that the libraries that it uses import
this library as well. Both runs draw the same random numbers. Do not compare the times: they include
compilation, and the machine was busy.

"""


FOOTER = """
The two libraries round differently, so numbers agree to a few digits, and to fewer after many
steps. To measure the effect of rounding alone,
`python benchmarks/programs/run.py --only NAME --spread 4` runs a program with optax four more
times, and changes each number that JAX draws by one ulp, up or down. Set `JAX_ENABLE_X64=1` to
measure it in float64.

| program | optax | optax, an ulp off | here |
|---|---|---|---|
| `neural_ode.ipynb` | 0.001865 | 0.001757 to 0.001986 | 0.001759 |
| the same in float64 | 0.00595846 | 0.00595837 | 0.00595832 |
| `getting_started.ipynb`, last fit at step 100 | 1.0e-3 | 1.1e-24 to 2.1e-6 | 1.0e-11 |
| the same in float64 | 6.85e-88 | | 6.93e-88 |

In both precisions, a change of one ulp at the start moves the neural ODE as far as the change of
the library. In the last fit of `getting_started.ipynb` the learning rate rises to 1, and the loss
has almost vanished at step 100. There the libraries differ by more than rounding in float64 too:
optax computes schedules in float32 even then, and
`warmup_cosine_decay_schedule(0.0, 1.0, 50, 1000)(500)` is off by 1.4e-8.

One program is left out, because an ulp decides whether it fails. optax's
`freezing_parameters.ipynb` minimizes |x| from 10 in a hundred steps of 0.1, which end close to the
minimum, and asserts a hundred steps later that x is within 0.01 of it. In float64 both libraries
end at 0.006. In float32 optax ends there too, and this library ends at 0.006 or -0.013, depending
on the last bits of the initial value.
"""


def code(program: Program, clones: Path | None) -> bytes:
    """Returns the program's file, at its commit."""
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


def outcome(file: Path, library: str, program: Program, *options: str) -> dict[str, float] | str:
    """Returns result and seconds of a run, or the last line of its error."""
    command = [sys.executable, str(HERE / "child.py"), str(file), library, program.result, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=file.parent, env=_quiet())
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def _quiet() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}


@contextlib.contextmanager
def copy(program: Program, clones: Path | None) -> Iterator[Path]:
    """Writes the program's file into a temporary directory, and yields its path."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / Path(program.path).name
        file.write_bytes(code(program, clones))
        yield file


def row(program: Program, clones: Path | None) -> str:
    """Returns a line of the table."""
    with copy(program, clones) as file:
        results = [outcome(file, library, program) for library in LIBRARIES]
    link = f"https://github.com/{program.repository}/blob/{program.commit}/{program.path}"
    name = f"[{program.repository}: {Path(program.path).name}]({link})"
    cells = [_number(r) for r in results]
    seconds = ["" if isinstance(r, str) else f"{r['seconds']:.0f} s" for r in results]
    return f"| {name} | {program.what} | {' | '.join(cells)} | {' / '.join(seconds)} |"


def _number(result: dict[str, float] | str) -> str:
    return result if isinstance(result, str) else f"{result['value']:.6g}"


def spread(program: Program, clones: Path | None, runs: int) -> Iterator[str]:
    """Yields optax's results if all that is drawn is off by an ulp: the effect of rounding."""
    yield f"{program.path}, {program.what}:"
    with copy(program, clones) as file:
        for seed in range(runs):
            yield _number(outcome(file, "optax", program, "--nudge", str(seed)))


def main() -> None:
    """Runs those programs whose path contains a given text, or all, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clones", type=Path, help="directory of clones, instead of GitHub")
    parser.add_argument("--only", default="", help="part of a path; then no page is written")
    parser.add_argument(
        "--spread", type=int, metavar="RUNS", help="what rounding decides; then no page is written"
    )
    arguments = parser.parse_args()
    chosen = [program for program in PROGRAMS if arguments.only in program.path]
    if arguments.spread is not None:
        for program in chosen:
            for line in spread(program, arguments.clones, arguments.spread):
                print(line, flush=True)
        return
    lines = []
    for program in chosen:
        lines.append(row(program, arguments.clones))
        print(lines[-1], flush=True)
    if not arguments.only:
        head = "| program | at its end | optax | functional_optim | time |\n|---|---|---|---|---|\n"
        PAGE.write_text(HEADER + head + "\n".join(lines) + "\n" + FOOTER, encoding="utf-8")


if __name__ == "__main__":
    main()
