"""Writes `schedulers.json` and `schedulers.npz`: runs of torch's schedulers.

In an environment with torch: `python -m tests.golden.make_sched`.
"""

import warnings

from .sched_cases import cases
from .sched_in_torch import TORCH
from .sched_store import write

CATCH = (ValueError, KeyError, ZeroDivisionError, NotImplementedError)


def main() -> None:
    warnings.simplefilter("ignore")  # step(epoch) is deprecated there
    all_cases = list(cases())
    tracks = [TORCH.play(case, CATCH) for case in all_cases]
    write(all_cases, tracks)
    print(f"{len(tracks)} cases, {sum(t.error is not None for t in tracks)} with an error")


if __name__ == "__main__":
    main()
