"""Who takes part: every optimizer of the package, with the settings of its sweep."""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import functional_optim as fo

__all__ = ["KNOWN", "LEFT_OUT", "Entrant", "entrant", "names"]

LEFT_OUT = {
    "cautious": "a wrapper: cautious_adamw and cautious_lion take part",
    "cautious_weight_decay": "a link",
    "dpsgd": "it needs the gradient of each example",
    "grokfast": "a link",
    "grokfast_ma": "a link",
    "hyperball": "it needs the direction of another rule",
    "hypergradient": "a wrapper: adam_hd and sgd_hd take part",
    "orthogonalize": "a link: muon takes part",
}
"""Factories that take no part, and why: they make less than an optimizer, or need more."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    # Pixels that are 0 in the first images have gradients of 0, and then eps is all that divides.
    "acprop": {"eps": 1e-3},
    # The matrices have 10 to 96 rows.
    "apollo": {"rank": 8, "update_proj_gap": 50},
    "apollo_mini": {"update_proj_gap": 50},
    "dadapt_sgd": {"momentum": 0.9},
    "galore": {"rank": 8, "update_proj_gap": 50},
    "generalized_primal_averaging": {"base_optimizer": fo.adam(1e-3)},
    "lbfgs": {"linesearch": fo.scale_by_zoom_linesearch(8, initial_guess_strategy="one")},
    "mechanize": {"base_optimizer": fo.adam(1.0)},
    "noisy_sgd": {"key": 0},
    "schedule_free": {"base_optimizer": fo.adam(1e-3, b1=0.0)},
    "scion": {"radius": 1.0, "constrained": False},
    "sgd": {"momentum": 0.9},
    "sgd_hd": {"momentum": 0.9},
    # Preconditioners at every step would be most of the time of a race.
    "psgd_kron": {"preconditioner_update_probability": 0.1},
    "shampoo": {"precondition_frequency": 10},
}
"""Arguments that have no default, or whose default is for large models or without momentum."""

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

The rules that find their learning rate sweep what their authors let one tune.
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


@functools.cache
def names() -> tuple[str, ...]:
    """Lists the optimizers: what the package exports from `algorithms` that is not left out."""
    found = {name: getattr(fo, name) for name in fo.__all__}
    return tuple(
        sorted(name for name, value in found.items() if _is_optimizer(value) - {*LEFT_OUT})
    )


def _is_optimizer(value: Any) -> set[str]:
    """Returns the name of an optimizer, or nothing."""
    if not inspect.isfunction(value) or value.__name__.startswith("scale_by_"):
        return set()
    if not value.__module__.startswith(f"{fo.__name__}.algorithms."):
        return set()
    makes = inspect.signature(value, eval_str=True).return_annotation
    return {value.__name__} if makes is fo.GradientTransformation else set()


def entrant(name: str) -> Entrant:
    """Makes an optimizer, and the settings of its sweep.

    Raises:
      ValueError: it needs an argument, or has no hyperparameter that can be swept; the message has
        the line to add.
    """
    factory: Callable[..., fo.GradientTransformation] = getattr(fo, name)
    parameters = inspect.signature(factory).parameters
    arguments = dict(ARGUMENTS.get(name, {}))
    if "learning_rate" in parameters and "learning_rate" in GRIDS.get(name, {"learning_rate": 0}):
        arguments["learning_rate"] = 1e-3
    missing = {k for k, p in parameters.items() if p.default is p.empty} - {*arguments}
    if missing:
        raise ValueError(
            f"{name} needs {', '.join(sorted(missing))}. Add a line to ARGUMENTS in "
            f'benchmarks/race/entrants.py: "{name}": {{"{min(missing)}": ...}}, or one to '
            f"LEFT_OUT that says why it cannot take part."
        )
    tx = factory(**arguments)
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
