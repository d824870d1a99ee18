"""Contestants take turns, so that a busy machine slows all of them by the same factor."""

import gc
import statistics
import time
from collections.abc import Mapping, Sequence

from .contestants import Contestant

__all__ = ["first_steps", "ratio", "step_times"]

Times = dict[str, list[float]]


def step_times(contestants: Mapping[str, Contestant], rounds: int, steps_per_round: int) -> Times:
    """Measures the seconds of a step of each contestant in each round.

    The first two rounds do not count.
    """
    found: Times = {name: [] for name in contestants}
    for i in range(rounds + 2):
        for name, contestant in contestants.items():
            gc.collect()
            start = time.perf_counter()
            contestant.steps(steps_per_round)
            elapsed = (time.perf_counter() - start) / steps_per_round
            if i >= 2:
                found[name].append(elapsed)
    return found


def first_steps(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Times]:
    """Measures the seconds of each phase before the first step.

    The first round includes late imports, and does not count.
    """
    found: dict[str, Times] = {}
    for i in range(rounds + 1 if rounds else 0):
        for name, contestant in contestants.items():
            phases = contestant.first()
            if phases is None or i == 0:
                continue
            for phase, seconds in phases.items():
                found.setdefault(name, {}).setdefault(phase, []).append(seconds)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Returns the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
