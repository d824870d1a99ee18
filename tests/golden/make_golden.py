"""Writes `optimizers.json` and `optimizers.npz`, what the tests compare with: runs of torch.

In an environment with torch: `python -m tests.golden.make_golden`.
"""

from .cases import DTYPES, Case
from .edges import EDGES
from .fuzz import fuzz
from .in_torch import configurations, run
from .problem import make_problem
from .run import Arrays
from .store import take_apart, write


def main() -> None:
    problems = {dtype: make_problem(dtype, seed) for seed, dtype in enumerate(DTYPES)}
    cases: list[Case] = []
    arrays: Arrays = {}
    for i, case in enumerate([*configurations(), *EDGES, *fuzz(seed=0, count=8)]):
        named = {"id": f"{case['optimizer']}-{i:03d}", **case}
        full, own = take_apart(named, run(named, problems[case["dtype"]]))
        cases.append(full)
        arrays |= own
    write("optimizers", cases, arrays, problems)
    print(f"{len(cases)} cases, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
