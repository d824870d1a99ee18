"""Random cases."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from .cases import DTYPES, STEPS, Case, case, edit, second_group
from .losses import LOSSES

_NUMBERS = (
    *("betas", "eps", "weight_decay", "maximize", "alpha", "rho", "lr_decay", "momentum_decay"),
    *("lambd", "t0", "etas", "step_sizes", "beta2_decay", "d", "ns_coefficients"),
)
"""Options that the second group may override; `edges` has those that select the program."""

Options = dict[str, Any]


def fuzz(seed: int, count: int) -> Iterator[Case]:
    """Makes `count` cases of each class."""
    rng = random.Random(seed)
    for name in DTYPES:
        for _ in range(count):
            yield _lbfgs(rng) if name == "LBFGS" else _case(rng, name)


def _case(rng: random.Random, name: str) -> Case:
    kwargs, other = _OPTIONS[name](rng), _OPTIONS[name](rng)
    key = rng.choice([k for k in _NUMBERS if k in other])
    overrides = {**second_group(kwargs, {}), key: other[key]}
    return case(name, "fuzz", kwargs, overrides, _edits(rng, kwargs["lr"]))


def _edits(rng: random.Random, lr: float) -> list[Options]:
    steps = sorted(rng.sample(range(1, STEPS), 3)) if rng.random() < 0.5 else []
    return [edit(t, "lr", lr * rng.uniform(0.1, 2), rng.randint(0, 1)) for t in steps]


def _lbfgs(rng: random.Random) -> Case:
    kwargs = {
        "lr": _log_uniform(rng, -2, 0.2),
        "max_iter": rng.randint(1, 25),
        "line_search_fn": rng.choice([None, "strong_wolfe"]),
    }
    return case("LBFGS", "fuzz", kwargs) | {"problem": rng.choice(LOSSES)}


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return float(10 ** rng.uniform(low, high))


def _lr(rng: random.Random) -> Options:
    return {"lr": _log_uniform(rng, -4, -0.5), "maximize": rng.random() < 0.3}


def _common(rng: random.Random) -> Options:
    decay = rng.choice([0.0, _log_uniform(rng, -3, -0.3)])
    return _lr(rng) | {"weight_decay": decay}


def _eps(rng: random.Random) -> Options:
    return {"eps": _log_uniform(rng, -12, -2)}


def _betas(rng: random.Random) -> Options:
    b1 = rng.choice([0.0, 0.5, 0.9, 0.95, rng.uniform(0, 0.99)])
    b2 = rng.choice([0.0, 0.9, 0.99, 0.999, rng.uniform(0.1, 0.9999)])
    return {"betas": [b1, b2], **_eps(rng)}


def _sgd(rng: random.Random) -> Options:
    momentum = rng.choice([0.0, rng.uniform(0, 0.99), rng.uniform(0, 0.99)])
    nesterov = momentum > 0 and rng.random() < 0.4
    dampening = 0.0 if nesterov else rng.choice([0.0, rng.uniform(0, 1)])
    return _common(rng) | {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}


def _adamax(rng: random.Random) -> Options:
    return _common(rng) | _betas(rng)


def _adamw(rng: random.Random) -> Options:
    return _adamax(rng) | {"amsgrad": rng.random() < 0.5}


def _adam(rng: random.Random) -> Options:
    return _adamw(rng) | {"decoupled_weight_decay": rng.random() < 0.4}


def _radam(rng: random.Random) -> Options:
    options = _adamax(rng) | {"decoupled_weight_decay": rng.random() < 0.5}
    options["betas"][1] = rng.choice([0.5, 0.7, 0.8, 0.9, options["betas"][1]])  # across rho of 5
    return options


def _nadam(rng: random.Random) -> Options:
    psi = rng.choice([0.0, _log_uniform(rng, -4, -0.5)])
    decoupled = rng.random() < 0.5
    return _adamax(rng) | {"momentum_decay": psi, "decoupled_weight_decay": decoupled}


def _rmsprop(rng: random.Random) -> Options:
    return {
        **_common(rng),
        **_eps(rng),
        "alpha": rng.uniform(0, 1),
        "momentum": rng.choice([0.0, rng.uniform(0, 0.99)]),
        "centered": rng.random() < 0.5,
    }


def _adadelta(rng: random.Random) -> Options:
    rho = rng.choice([0.0, 0.9, 1.0, rng.uniform(0.1, 0.99)])
    return _common(rng) | _eps(rng) | {"rho": rho, "lr": _log_uniform(rng, -1, 0.3)}


def _adagrad(rng: random.Random) -> Options:
    return {
        **_common(rng),
        **_eps(rng),
        "lr_decay": rng.choice([0.0, _log_uniform(rng, -3, 0)]),
        "initial_accumulator_value": rng.choice([0.0, _log_uniform(rng, -3, 0)]),
    }


def _asgd(rng: random.Random) -> Options:
    return {
        **_common(rng),
        "lambd": _log_uniform(rng, -4, -0.5),
        "alpha": rng.uniform(0.2, 1),
        "t0": rng.choice([0, 3.0, 8, 1e6]),
    }


def _rprop(rng: random.Random) -> Options:
    sizes = [_log_uniform(rng, -6, -3), _log_uniform(rng, -2, 1)]
    return _lr(rng) | {"etas": [rng.uniform(0.1, 0.9), rng.uniform(1.05, 2)], "step_sizes": sizes}


def _adafactor(rng: random.Random) -> Options:
    eps = [rng.choice([None, _log_uniform(rng, -20, -3)]), _log_uniform(rng, -4, -1)]
    return {
        **_common(rng),
        "lr": _log_uniform(rng, -3, -0.1),  # at 1, a scalar becomes 0 up to rounding
        "beta2_decay": -rng.uniform(0, 1.5),
        "eps": eps,
        "d": rng.uniform(1, 3),
    }


def _muon(rng: random.Random) -> Options:
    return {
        "lr": _log_uniform(rng, -3, -1),
        "weight_decay": rng.choice([0.0, _log_uniform(rng, -3, -0.3)]),
        "momentum": rng.choice([0.0, 0.5, 0.95]),
        "nesterov": rng.random() < 0.5,
        "ns_steps": rng.choice([1, 3, 5]),
        "adjust_lr_fn": rng.choice([None, "original", "match_rms_adamw"]),
        "eps": _log_uniform(rng, -8, -3),
    }


def _sparse_adam(rng: random.Random) -> Options:
    return _lr(rng) | _betas(rng)


_OPTIONS: dict[str, Callable[[random.Random], Options]] = {
    "Adadelta": _adadelta,
    "Adafactor": _adafactor,
    "Adagrad": _adagrad,
    "Adam": _adam,
    "AdamW": _adamw,
    "Adamax": _adamax,
    "ASGD": _asgd,
    "Muon": _muon,
    "NAdam": _nadam,
    "RAdam": _radam,
    "RMSprop": _rmsprop,
    "Rprop": _rprop,
    "SGD": _sgd,
    "SparseAdam": _sparse_adam,
}
