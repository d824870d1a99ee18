"""Random cases."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from .cases import CLASSES, STEPS, Case, case, edit, second_group

_NUMBERS = ("betas", "eps", "weight_decay", "maximize", "alpha")
"""What the second group may override: what shapes the program is left to the edges."""


def fuzz(seed: int, count: int) -> Iterator[Case]:
    """Makes `count` cases of each class."""
    rng = random.Random(seed)
    for name in CLASSES:
        for _ in range(count):
            kwargs, other = _OPTIONS[name](rng), _OPTIONS[name](rng)
            key = rng.choice([k for k in _NUMBERS if k in other])
            overrides = {**second_group(kwargs, 0.0, 0.0), key: other[key]}
            yield case(name, "fuzz", kwargs, overrides, _edits(rng, kwargs["lr"]))


def _edits(rng: random.Random, lr: float) -> list[dict[str, Any]]:
    steps = sorted(rng.sample(range(1, STEPS), 3)) if rng.random() < 0.5 else []
    return [edit(t, "lr", lr * rng.uniform(0.1, 2), rng.randint(0, 1)) for t in steps]


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return float(10 ** rng.uniform(low, high))


def _common(rng: random.Random) -> dict[str, Any]:
    return {
        "lr": _log_uniform(rng, -4, -0.5),
        "weight_decay": rng.choice([0.0, _log_uniform(rng, -3, -0.3)]),
        "maximize": rng.random() < 0.3,
    }


def _sgd(rng: random.Random) -> dict[str, Any]:
    momentum = rng.choice([0.0, rng.uniform(0, 0.99), rng.uniform(0, 0.99)])
    nesterov = momentum > 0 and rng.random() < 0.4
    dampening = 0.0 if nesterov else rng.choice([0.0, rng.uniform(0, 1)])
    return _common(rng) | {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}


def _adamw(rng: random.Random) -> dict[str, Any]:
    b1 = rng.choice([0.0, 0.5, 0.9, 0.95, rng.uniform(0, 0.99)])
    b2 = rng.choice([0.0, 0.9, 0.99, 0.999, rng.uniform(0.1, 0.9999)])
    more = {"betas": [b1, b2], "eps": _log_uniform(rng, -12, -2), "amsgrad": rng.random() < 0.5}
    return _common(rng) | more


def _adam(rng: random.Random) -> dict[str, Any]:
    return _adamw(rng) | {"decoupled_weight_decay": rng.random() < 0.4}


def _rmsprop(rng: random.Random) -> dict[str, Any]:
    return _common(rng) | {
        "alpha": rng.uniform(0, 1),
        "eps": _log_uniform(rng, -12, -2),
        "momentum": rng.choice([0.0, rng.uniform(0, 0.99)]),
        "centered": rng.random() < 0.5,
    }


_OPTIONS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "SGD": _sgd,
    "Adam": _adam,
    "AdamW": _adamw,
    "RMSprop": _rmsprop,
}
