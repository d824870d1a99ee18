"""Trains every optimizer of the package on small real tasks: `make race`.

Each optimizer is tuned on each task by one sweep of at least 32 settings and three seeds, which is
one compiled program. Results are in `--out`, a small file for each optimizer and task: a race that
was stopped continues where it stopped. At the end, `docs/race.md` and its pictures are written.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from functional_optim.demo.optimizers import names

from .entrants import entrant
from .report import write_page
from .results import Results, Setup
from .sweep import sweep
from .tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
Pair = tuple[str, str]

SWEEPS = 40
"""Number of sweeps in one process, which share compiled operations; more would need more memory."""


THREADS = "16"
"""Threads of XLA on the CPU, more than there are decompositions at once.

In jaxlib 0.10.2 a batched decomposition waits for threads of the pool in which it runs itself: with
2 threads, two of them, each of many settings, may wait for each other without end.
"""


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(prog="make race", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--only", default="", help="optimizers, with commas between; all by default")
    add("--tasks", default=",".join(TASKS), help="tasks, with commas between: %(default)s")
    add(
        "--steps",
        type=float,
        default=Setup.steps,
        help="share of the steps of each task (%(default)s)",
    )
    add("--seeds", type=int, default=Setup.seeds, help="(%(default)s)")
    add("--every", type=int, default=Setup.every, help="steps between measurements (%(default)s)")
    add("--quick", action="store_true", help="one seed and half of the steps")
    add("--out", type=Path, default=ROOT / "out" / "race", help="folder of the results")
    add("--page", type=Path, default=ROOT / "docs" / "race.md", help="the page that is written")
    add("--again", action="store_true", help="runs again what ended in an error")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps = 1, 0.5
    options.chosen = options.only.split(",") if options.only else list(names())
    options.tasks = options.tasks.split(",")
    for kind, given, known in (
        ("optimizer", options.chosen, names()),
        ("task", options.tasks, TASKS),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"no {kind} {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the sweeps that have no result yet, and writes the page."""
    options = parsed(arguments)
    results = Results(options.out, Setup(options.steps, options.seeds, options.every))
    pairs = [(task, name) for task in options.tasks for name in options.chosen]
    if options.child:
        for pair in pending(pairs, results)[:SWEEPS]:
            run(*pair, results)
        return
    if options.again:
        for pair in pairs:
            if (results.read(*pair) or {}).get("error"):
                results.path(*pair).unlink()
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = [sys.executable, "-m", "benchmarks.race", "--child", *given]
    # One thread of OpenBLAS for each of them: its threads would wait in loops for each other.
    env = {"PJRT_NPROC": THREADS, "OPENBLAS_NUM_THREADS": "1"} | os.environ
    while todo := pending(pairs, results):
        print(f"{len(todo)} of {len(pairs)} sweeps to do", flush=True)
        code = subprocess.run(command, env=env).returncode
        left = pending(pairs, results)
        if code and left:
            # Nothing that an optimizer does to its process ends the race.
            results.write(*left[0], {"error": f"the process ended with status {code}"})
    write_page(results, options.tasks, options.page)
    print(f"wrote {options.page}")


def pending(pairs: Sequence[Pair], results: Results) -> list[Pair]:
    """Returns the pairs without a result."""
    return [pair for pair in pairs if results.read(*pair) is None]


def run(task: str, name: str, results: Results) -> None:
    """Sweeps an optimizer on a task, and writes the result or the error."""
    began, cpu, setup = time.perf_counter(), time.process_time(), results.setup
    steps = max(1, round(TASKS[task].steps * setup.steps / setup.every)) * setup.every
    try:
        result = sweep(TASKS[task], entrant(name), steps, setup.seeds, setup.every)
        shown = f"{result['final']} after {steps}, target after {result['steps_to_target']}"
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:500]}
        shown = result["error"]
    seconds = time.perf_counter() - began
    spent = {"seconds": round(seconds, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    results.write(task, name, {**result, "steps": steps, **spent})
    print(f"{task} {name}: {shown} [{seconds:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
