"""Every optimizer of the package by its name, with arguments that suit a small network."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import functional_optim as fo

__all__ = ["ARGUMENTS", "BASES", "LEFT_OUT", "make", "names"]

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
    # Pixels that are 0 in the first images have gradients of 0; after these, only eps divides.
    "acprop": {"eps": 1e-3},
    # The matrices have 10 to 256 rows.
    "apollo": {"rank": 8, "update_proj_gap": 50},
    "apollo_mini": {"update_proj_gap": 50},
    "dadapt_sgd": {"momentum": 0.9},
    "galore": {"rank": 8, "update_proj_gap": 50},
    "lbfgs": {"linesearch": fo.scale_by_zoom_linesearch(8, initial_guess_strategy="one")},
    "noisy_sgd": {"key": 0},
    "scion": {"radius": 1.0, "constrained": False},
    "sgd": {"momentum": 0.9},
    "sgd_hd": {"momentum": 0.9},
    # Preconditioners at every step would be most of the time of a run.
    "psgd_kron": {"preconditioner_update_probability": 0.1},
    "shampoo": {"precondition_frequency": 10},
}
"""Arguments that have no default, or whose default is for large models or without momentum."""

BASES: Mapping[str, Callable[[fo.ScalarOrSchedule], fo.GradientTransformation]] = {
    "generalized_primal_averaging": fo.adam,
    "mechanize": fo.adam,
    "schedule_free": functools.partial(fo.adam, b1=0.0),
}
"""The optimizers that take another one, which they get, with the learning rate."""

_RATES = {"lbfgs": None, "polyak_sgd": "max_learning_rate"}
"""The names of learning rates that have another name; None where a line search finds it."""


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


def make(
    name: str, learning_rate: fo.ScalarOrSchedule, **changes: Any
) -> fo.GradientTransformation:
    """Makes an optimizer from its learning rate; one that searches along a line has none.

    Args:
      name: one of `names()`.
      learning_rate: where an optimizer finds its own, a factor of that, for which 1 is usual.
      **changes: arguments in place of those of `ARGUMENTS` and the defaults.

    Raises:
      ValueError: the optimizer needs another argument; the message has the line to add.

    Example:
      >>> tx = make("sgd", 0.5)
      >>> {k: float(v) for k, v in fo.get_hyperparams(tx.init({"w": 0.0})).items()}
      {'momentum': 0.8999999761581421, 'learning_rate': 0.5}
    """
    factory: Callable[..., fo.GradientTransformation] = getattr(fo, name)
    parameters = inspect.signature(factory).parameters
    arguments = {**ARGUMENTS.get(name, {}), **changes}
    rate_name = _RATES.get(name, "learning_rate")
    if rate_name is not None and rate_name in parameters:
        arguments[rate_name] = learning_rate
    if name in BASES:
        arguments["base_optimizer"] = BASES[name](learning_rate)
    missing = {k for k, p in parameters.items() if p.default is p.empty} - {*arguments}
    if missing:
        raise ValueError(
            f"{name} needs {', '.join(sorted(missing))}. Add a line to ARGUMENTS in "
            f'functional_optim/demo/optimizers.py: "{name}": {{"{min(missing)}": ...}}, or one to '
            f"LEFT_OUT that says why it cannot take part."
        )
    return factory(**arguments)
