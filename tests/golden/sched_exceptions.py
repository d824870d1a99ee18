"""Cases of the schedulers in which torch is not followed, and why."""

from collections.abc import Callable
from typing import Any

from .sched_cases import Case

Says = Callable[[Case], bool]


def _name(case: Case) -> str:
    return str(case["schedulers"][0]["scheduler"])


def _is(case: Case, *names: str, **arguments: Any) -> bool:
    """Tells whether a case is of one of some classes, with some arguments."""
    first = case["schedulers"][0]
    return first["scheduler"] in names and all(first.get(k) == v for k, v in arguments.items())


def _parts(case: Case) -> list[str]:
    first, *_ = case["schedulers"]
    return [part["scheduler"] for part in first.get("schedulers", [])]


def decays_twice(case: Case) -> bool:
    spec = case["schedulers"][0]
    at_boundary = {
        "StepLR": lambda: case["at"] % spec["step_size"] == 0,
        "MultiStepLR": lambda: case["at"] in spec["milestones"],
        "ConstantLR": lambda: case["at"] == spec["total_iters"],
    }.get(_name(case))
    return case["driver"] == "last_epoch" and at_boundary is not None and at_boundary()


_LISTS = [
    *("LambdaLR", "MultiplicativeLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"),
    *("CyclicLR", "OneCycleLR", "SWALR"),
]

REASONS: dict[str, Says] = {
    "a phase of no epochs keeps the factor of its start": lambda c: _is(
        c, "ConstantLR", "LinearLR", total_iters=0
    ),
    "the factor 0 ends with a division by zero": lambda c: (
        _is(c, "ConstantLR", factor=0.0) and c["driver"] != "epoch"
    ),
    "a run continued at a boundary decays twice": decays_twice,
    "a continued annealing starts again": lambda c: _is(c, "SWALR") and c["driver"] == "last_epoch",
    "a group cannot be added": lambda c: c["driver"] == "add_group" and _is(c, *_LISTS),
    "a sequence within one starts at 1, or cannot start": lambda c: (
        _is(c, "SequentialLR") and "SequentialLR" in _parts(c)
    ),
    "a chain cannot start at a milestone": lambda c: (
        _is(c, "SequentialLR") and _parts(c)[1:] == ["ChainedScheduler"]
    ),
    "a cycle after another scheduler starts at that one's rate": lambda c: (
        _is(c, "CosineAnnealingLR")
        and [s["scheduler"] for s in c["schedulers"]][1:] == ["CyclicLR"]
    ),
    "the cycle goes beyond its end, and then raises": lambda c: _is(c, "OneCycleLR"),
}


def reason(case: Case) -> str | None:
    """Returns the reason why a case is not compared to its end, or None."""
    return next((why for why, says in REASONS.items() if says(case)), None)


def compared(case: Case) -> slice:
    """Returns the steps of a case in which torch is followed."""
    why = reason(case)
    if why is None:
        return slice(None)
    if why.startswith("the cycle goes"):
        spec = case["schedulers"][0]
        last = spec.get("total_steps", 40) - 1
        return slice(0, last if spec.get("pct_start") == 1.0 else last + 1)
    if why.startswith("the factor 0"):
        return slice(0, case["schedulers"][0]["total_iters"])
    if why.startswith("a cycle after"):
        return slice(1, None)
    if why.startswith(("a run continued", "a group", "a chain", "a continued")):
        return slice(0, 5 if case["at"] == 0 else case["at"] + 1)
    return slice(0, 0)
