"""Every optimizer of the package by its name, with arguments that suit a small network."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import functional_optim as fo

__all__ = ["ARGUMENTS", "BASES", "EXCLUDED", "make", "names"]

EXCLUDED = {
    "cautious": "a wrapper: cautious_adamw and cautious_lion are included",
    "cautious_weight_decay": "a link",
    "dpsgd": "it needs the gradient of each example",
    "grokfast": "a link",
    "grokfast_ma": "a link",
    "hyperball": "it needs the direction of another rule",
    "hypergradient": "a wrapper: adam_hd and sgd_hd are included",
    "orthogonalize": "a link: muon is included",
}
"""Factories that are not included -> why: each makes less than an optimizer, or needs more than
gradients."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    # The weights of pixels that are 0 in all first images have gradients of 0 there. Their next
    # gradient is divided by the root of the past ones plus eps: by eps alone.
    "acprop": {"eps": 1e-3},
    # The default ranks are for large models, and the matrices here have 10 to 256 rows.
    "apollo": {"rank": 8, "update_proj_gap": 50},
    "apollo_mini": {"update_proj_gap": 50},
    "dadapt_sgd": {"momentum": 0.9},
    "galore": {"rank": 8, "update_proj_gap": 50},
    "lbfgs": {"linesearch": fo.scale_by_zoom_linesearch(8, initial_guess_strategy="one")},
    "noisy_sgd": {"key": 0},
    "scion": {"radius": 1.0, "constrained": False},
    "sgd": {"momentum": 0.9},
    "sgd_hd": {"momentum": 0.9},
    # Preconditioners at every step would take most of the time of a run.
    "psgd_kron": {"preconditioner_update_probability": 0.1},
    "shampoo": {"precondition_frequency": 10},
}
"""Arguments that have no default, or whose default is for large models or without momentum."""

BASES: Mapping[str, Callable[[fo.ScalarOrSchedule], fo.GradientTransformation]] = {
    "generalized_primal_averaging": fo.adam,
    "mechanize": fo.adam,
    "schedule_free": functools.partial(fo.adam, b1=0.0),
}
"""Optimizers that wrap another one -> the factory of that one, called with the learning rate."""

_RATES = {"lbfgs": None, "polyak_sgd": "max_learning_rate"}
"""Name of the learning rate where it is not `learning_rate`; None if a line search finds it."""


@functools.cache
def names() -> tuple[str, ...]:
    """Returns the names of the optimizers: public factories of `algorithms` except `EXCLUDED`."""
    exported = {name: getattr(fo, name) for name in fo.__all__}
    return tuple(
        sorted(
            name
            for name, value in exported.items()
            if _is_optimizer(value) and value.__name__ not in EXCLUDED
        )
    )


def _is_optimizer(value: Any) -> bool:
    if not inspect.isfunction(value) or value.__name__.startswith("scale_by_"):
        return False
    if not value.__module__.startswith(f"{fo.__name__}.algorithms."):
        return False
    return_type = inspect.signature(value, eval_str=True).return_annotation
    return return_type is fo.GradientTransformation


def make(
    name: str, learning_rate: fo.ScalarOrSchedule, **changes: Any
) -> fo.GradientTransformation:
    """Makes an optimizer from its learning rate, which an optimizer with a line search ignores.

    Args:
      name: one of `names()`.
      learning_rate: the learning rate; for an optimizer that estimates its own, a factor of the
        estimate, usually 1.
      **changes: arguments that replace the arguments of `ARGUMENTS` and the defaults.

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
            f"EXCLUDED that says why it is not included."
        )
    return factory(**arguments)
