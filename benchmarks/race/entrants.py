"""Who takes part: every optimizer of the package, with the settings of its sweep."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import functional_optim as fo
from functional_optim.demo.optimizers import make

__all__ = ["KNOWN", "Entrant", "entrant"]

RATES = tuple(np.logspace(-4.5, 1.5, 16).tolist())
"""Learning rates, a factor of 2.5 apart."""

FACTORS = tuple(np.logspace(-1.0, 1.0, 8).tolist())
"""Factors of a rate that a rule finds."""

STARTS = (1e-8, 1e-6, 1e-4, 1e-2)
"""First estimates of a rate or a distance."""

GRIDS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "adam_hd": {"learning_rate": RATES, "hypergrad_lr": (1e-8, 1e-4)},
    "cocob": {"alpha": tuple(np.logspace(0.0, 4.0, 16).tolist()), "weight_decay": (0.0, 0.01)},
    "dadapt_adamw": {"learning_rate": FACTORS, "estim_lr0": STARTS},
    "dadapt_sgd": {"learning_rate": FACTORS, "estim_lr0": STARTS},
    "dog": {"learning_rate": FACTORS, "init_value": STARTS},
    "dowg": {"learning_rate": FACTORS, "eps": STARTS},
    "lbfgs": {
        "slope_rtol": tuple(np.logspace(-4.0, -1.2, 8).tolist()),
        "curv_rtol": (0.1, 0.3, 0.6, 0.9),
    },
    "ldog": {"learning_rate": tuple(np.logspace(-1.0, 1.0, 32).tolist())},
    "mechanize": {"s_init": tuple(np.logspace(-8, -1, 16).tolist()), "weight_decay": (0.0, 0.01)},
    "noisy_sgd": {"learning_rate": RATES, "eta": (1e-4, 1e-2)},
    "polyak_sgd": {"max_learning_rate": RATES, "scaling": (0.5, 1.0)},
    "prodigy": {"estim_lr_coef": tuple(np.logspace(-2.0, 1.0, 16).tolist()), "b1": (0.9, 0.5)},
    "rmsprop": {"learning_rate": RATES, "decay": (0.9, 0.99)},
    "rprop": {"learning_rate": RATES, "eta_plus": (1.05, 1.2)},
    "schedule_free": {"learning_rate": RATES, "schedule_free_step.b1": (0.9, 0.5)},
    "scion": {"learning_rate": RATES, "alpha": (0.1, 0.5)},
}
"""The numbers that are swept, where these are not a learning rate and a momentum of usual names.

For rules that estimate their learning rate, these are the numbers that their authors tune.
"""

_OF_ONE_SIZE = "steps of one size need a schedule at the end"

KNOWN = {
    "cautious_lion": _OF_ONE_SIZE,
    "lbfgs": "it is for whole batches: the differences of gradients are those of two batches",
    "lion": _OF_ONE_SIZE,
    "rprop": "it is for whole batches: signs of gradients differ from batch to batch",
    "sign_sgd": _OF_ONE_SIZE,
    "signum": _OF_ONE_SIZE,
}
"""Why an optimizer may not reach a target, where that is known."""

MOMENTA = ("momentum", "b1", "beta")
"""Names of a momentum, which is swept between its default and `SMALL`."""

SMALL = 0.5
"""A momentum that forgets soon, because the runs are short."""

LEAST = 32
"""How many settings a sweep has at least."""


class Entrant(NamedTuple):
    """An optimizer.

    Attributes:
      name: name in the package.
      tx: the optimizer, with numbers that the sweep replaces.
      settings: name of a hyperparameter -> its value in each setting.
    """

    name: str
    tx: fo.GradientTransformation
    settings: Mapping[str, tuple[float, ...]]


def entrant(name: str) -> Entrant:
    """Makes an optimizer, and the settings of its sweep.

    Raises:
      ValueError: it needs an argument, or has no hyperparameter that can be swept; the message has
        the line to add.
    """
    swept = "learning_rate" in GRIDS.get(name, {"learning_rate": RATES})
    tx = make(name, 1e-3 if swept else 1.0)
    params = {"kernel": jnp.ones((32, 16)), "bias": jnp.ones(16)}
    numbers = {k: float(v) for k, v in fo.get_hyperparams(tx.init(params)).items()}
    grid = GRIDS.get(name) or _grid(numbers)
    found = {k: [n for n in numbers if n == k or n.endswith(f".{k}")] for k in grid}
    if not grid or not all(found.values()):
        raise ValueError(
            f"{name} has no hyperparameter {', '.join(k for k in grid if not found[k])}; it has "
            f"{', '.join(numbers)}. Add a line to GRIDS in benchmarks/race/entrants.py with what "
            f"is swept."
        )
    values = [*itertools.product(*grid.values())]
    columns = zip(*values, strict=True)
    by_knob = dict(zip(grid, columns, strict=True))
    return Entrant(name, tx, {n: by_knob[k] for k in grid for n in found[k]})


def _grid(numbers: Mapping[str, float]) -> Mapping[str, Sequence[float]]:
    """Returns learning rates and two values of a momentum, or of the decay, or more rates."""
    last = {name.rpartition(".")[2]: value for name, value in numbers.items()}
    if "learning_rate" not in last:
        return {}
    for name in MOMENTA:
        if name in last:
            return {"learning_rate": RATES, name: (last[name], SMALL)}
    if "weight_decay" in last:
        return {"learning_rate": RATES, "weight_decay": (0.0, 0.01)}
    return {"learning_rate": tuple(np.logspace(-4.5, 1.5, LEAST).tolist())}
