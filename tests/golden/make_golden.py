"""Writes `data/`: runs of torch, with which the tests compare.

In an environment with torch: `python -m tests.golden.make_golden`, and names of classes for
those only.
"""

import sys

from .cases import DTYPES, Case
from .configurations import configurations
from .edges import EDGES
from .fuzz import fuzz
from .in_torch import run
from .problem import make_problem
from .run import Arrays
from .store import take_apart, write

FUZZ = 5
"""Random cases of each class."""


def main(names: list[str]) -> None:
    cases = [*configurations(), *EDGES, *fuzz(seed=0, count=FUZZ)]
    for name in names or DTYPES:
        own = [case for case in cases if case["optimizer"] == name]
        write_class(name, own)
        print(f"{name}: {len(own)} cases")


def write_class(name: str, cases: list[Case]) -> None:
    made: list[Case] = []
    vectors: Arrays = {}
    for i, case in enumerate(cases):
        found = run(case, make_problem(case["problem"], case["dtype"]))
        named, vectors[f"{i:03d}"] = take_apart({"id": f"{i:03d}", **case}, found)
        if i:
            named["run"].pop("defaults")  # the same for all
        made.append(named)
    write(name, made, vectors)


if __name__ == "__main__":
    main(sys.argv[1:])
