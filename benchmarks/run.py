"""Time, memory and dispatch of a step, here and in optax and torch: `make bench`.

Prints tables and writes `results.json`. Each case runs in a separate process, in which all
contestants take turns; README.md describes the measurements.
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from suite.cases import CASES, Case
from suite.report import step_table, tables

HERE = Path(__file__).resolve().parent


def measure(case: Case) -> dict[str, Any]:
    """Returns all times of a case."""
    from suite.contestants import contestants
    from suite.floor import Triad, largest
    from suite.rules import RULES
    from suite.trees import TREES
    from suite.turns import first_steps, step_times

    tree = TREES[case.tree]
    found = contestants(RULES[case.rule], tree, case.names)
    first = first_steps(found, case.first)
    floor = {"triad of 28 bytes": Triad(tree)} if tree.steps_per_round == 1 else {}
    return {
        "case": dataclasses.asdict(case),
        "versions": versions(),
        "first": first,
        "temporary": {name: one.temporary for name, one in found.items()},
        "held": {name: one.held for name, one in found.items()},
        "largest": largest(tree),
        "step": step_times(found | floor, case.rounds, tree.steps_per_round),
    }


def peak(case: Case, name: str) -> int | None:
    """Returns the bytes that this process held at most, once a contestant has made three steps."""
    from suite.contestants import contestants
    from suite.rules import RULES
    from suite.trees import TREES

    found = contestants(RULES[case.rule], TREES[case.tree], [name])
    for one in found.values():
        one.steps(3)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if found else None


def versions() -> dict[str, str]:
    """Returns the versions of the packages, and the machine."""
    import jax
    import optax

    import functional_optim as fo

    found = {"jax": jax.__version__, "optax": optax.__version__, "functional_optim": fo.__version__}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].__version__
    found |= {"Python": platform.python_version(), "cores": str(os.cpu_count())}
    return found | {"load": f"{os.getloadavg()[0]:.1f}"}


def apart(*arguments: str) -> Any:
    """Runs this file in another process, and returns the JSON that it prints."""
    # Threads of torch that spin after a step would take the cores from whose turn it is.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts of titles of cases, with | between")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        case, name = CASES[arguments.case], arguments.alone
        print(json.dumps(measure(case) if name is None else peak(case, name)))
        return
    results = []
    for i, case in enumerate(CASES):
        if not any(part in case.title.lower() for part in arguments.only.lower().split("|")):
            continue
        results.append(apart("--case", str(i)))
        alone = {n: apart("--case", str(i), "--alone", n) for n in case.names if case.first}
        results[-1]["process"] = {name: size for name, size in alone.items() if size}
        print(*step_table(results[-1:]), sep="\n", end="\n\n", flush=True)
        arguments.out.write_text(json.dumps(results, indent=1))
    print(", ".join(f"{k} {v}" for k, v in results[-1]["versions"].items()), end="\n\n")
    print(*tables(results), sep="\n")


if __name__ == "__main__":
    main()
