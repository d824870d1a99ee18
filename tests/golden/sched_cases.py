"""Cases of the learning-rate schedulers.

A case has `optimizer` (a key of OPTIMIZERS), `schedulers` (specifications, stepped in this order),
`driver`, `steps`, and `at`, the step before which the driver acts:

    step         the schedulers are stepped, and nothing else happens
    epoch        the same, but `step` gets the numbers of `epochs`
    external     the learning rates in the groups are halved
    add_group    a third group is added
    resume       all objects are built again, and both state_dicts are loaded
    last_epoch   the schedulers are built again with last_epoch = at - 1

`metrics` is a key of METRICS: the metrics that `step` of a ReduceLROnPlateau gets.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from .sched_grid import COMPOSITES, PLATEAUS, Spec, grid, pairs, spec

Case = dict[str, Any]
STEPS = 40

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "SGD", "lrs": [0.05, 0.5], "momentum": 0.9},
    "adamw": {"optimizer": "AdamW", "lrs": [0.001, 0.01]},
    "float32": {"optimizer": "SGD", "lrs": [0.05, 0.5], "momentum": 0.9, "dtype": "float32"},
    "float64": {"optimizer": "SGD", "lrs": [0.05, 0.5], "momentum": 0.9, "dtype": "float64"},
}

FUNCTIONS: dict[str, Callable[[float], Callable[[float], float]]] = {
    "power": lambda base: lambda epoch: base**epoch,
    "quotient": lambda k: lambda epoch: float(epoch // k),
    "inverse": lambda k: lambda epoch: 1 / (1 + k * epoch),
    "constant": lambda c: lambda epoch: c,
    "halves": lambda k: lambda cycle: 1 / 2.0 ** (cycle - k),
}

METRICS: dict[str, list[float]] = {
    "flat": [1.0] * STEPS,
    "improving": [10 - 0.0167 * i for i in range(STEPS)],
    "stairs": [10.0 - i // 9 for i in range(STEPS)],
    "noisy": [1.0 + 0.3 * math.sin(1.7 * i) - 0.01 * i for i in range(STEPS)],
    "rising": [1.5 * 1.005**i for i in range(STEPS)],
    "nan": [1.0, 0.9, math.nan] + [0.8] * (STEPS - 3),
    "infinite": [1.0, math.inf] + [0.5 - 0.01 * i for i in range(STEPS - 2)],
    "negative": [-0.8] * 2 + [-0.234] * (STEPS - 2),
}

CLOSED = {
    *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR"),
    "CosineAnnealingLR",
}
"""Schedulers for which torch has a closed form, which `step(epoch)` uses."""

FRACTIONS: list[float] = [0.4 * i for i in range(30)]
LEAPS: list[float] = [0, 1, 2, 3, 4, 5, 25, 32, 33, 34, 80, 81, 3]


def arguments(spec: Spec) -> Spec:
    """Returns the arguments of the scheduler that a specification describes."""
    made = {k: _function(spec[k]) for k in ("lr_lambda", "scale_fn") if k in spec}
    return {k: v for k, v in spec.items() if k != "scheduler"} | made


def _function(written: Any) -> Any:
    if isinstance(written, list):
        return [_function(w) for w in written]
    return FUNCTIONS[written["function"]](written["argument"])


def cases() -> Iterator[Case]:
    """Yields all cases."""
    yield from _single()
    yield from _driven()
    for specs in (*pairs(), *COMPOSITES):
        yield _case("sgd", specs, "step")
    for specs in (*COMPOSITES, *list(pairs())[:60]):
        yield _case("sgd", specs, "resume", 8)
    for plateau in PLATEAUS:
        for metrics in METRICS:
            yield _case("sgd", [plateau], "step", metrics=metrics)
    for metrics in METRICS:
        yield _case("sgd", PLATEAUS[:1], "resume", 8, metrics=metrics)
        yield _case("sgd", PLATEAUS[:1], "add_group", 5, metrics=metrics)
        both = [spec("StepLR", step_size=3, gamma=0.5), PLATEAUS[0]]
        yield _case("sgd", both, "step", metrics=metrics)


def _single() -> Iterator[Case]:
    for each in grid():
        yield _case("sgd", [each], "step")
        if each["scheduler"] in CLOSED:
            yield _case("sgd", [each], "epoch", epochs=[*range(1, STEPS + 1)])
        if each["scheduler"] in ("CyclicLR", "OneCycleLR"):
            yield _case("adamw", [each], "step")
        if each["scheduler"] == "CosineAnnealingWarmRestarts":
            for epochs in (FRACTIONS, LEAPS):
                yield _case("sgd", [each], "epoch", epochs=epochs)


def _driven() -> Iterator[Case]:
    """Yields three cases of each class through the other drivers."""
    seen: Counter[str] = Counter()
    for each in grid():
        seen[each["scheduler"]] += 1
        if seen[each["scheduler"]] not in (1, 2, 7):
            continue
        yield _case("sgd", [each], "external", 7)
        yield _case("sgd", [each], "add_group", 5)
        for at in (1, 6, 17):
            yield _case("sgd", [each], "resume", at)
            yield _case("sgd", [each], "last_epoch", at)
        for optimizer in ("float32", "float64"):
            yield _case(optimizer, [each], "step")


def _case(
    optimizer: str,
    schedulers: list[Spec],
    driver: str,
    at: int = 0,
    epochs: list[float] | None = None,
    metrics: str | None = None,
) -> Case:
    more: dict[str, Any] = {"epochs": epochs} if epochs else {}
    more |= {"metrics": metrics} if metrics else {}
    steps = len(epochs) if epochs else STEPS
    head = {"optimizer": optimizer, "schedulers": schedulers, "driver": driver}
    return head | {"steps": steps, "at": at} | more
