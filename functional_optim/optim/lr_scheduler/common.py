"""Functions for several schedulers: they set options of groups, and check arguments."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..optimizer import Optimizer
from ..params.param_group import ParamGroup

__all__ = [
    "Rate",
    "check_epochs",
    "check_fraction",
    "check_optimizer",
    "get_rates",
    "as_float64",
    "per_group",
    "rate_key",
    "set_momentum",
    "set_rate",
    "uses_betas",
]


Rate = float | jax.Array | np.ndarray
"""A learning rate of a group: a number, or an array if the group was given one."""


def check_optimizer(name: str, optimizer: object) -> None:
    """Checks that a scheduler can set the learning rates of an optimizer.

    Raises:
      TypeError: optimizer is not of this package, or a learning rate is a schedule; the
        message starts with `name`.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{name}: {type(optimizer).__name__} is not an Optimizer. Pass one "
            "of functional_optim.optim."
        )
    key = rate_key(name, optimizer)
    for i, group in enumerate(optimizer.param_groups):
        if callable(group[key]):
            raise TypeError(f"{name}: {key} of group {i} is a schedule already. Pass a number.")


def rate_key(name: str, optimizer: Optimizer) -> str:
    """Returns the name of the option that is the learning rate.

    Raises:
      KeyError: the groups have no learning rate; the message starts with `name`.
    """
    for key in ("lr", "learning_rate"):
        if all(key in group for group in optimizer.param_groups):
            return key
    raise KeyError(
        f"{name}: the groups have neither an option 'lr' nor 'learning_rate'. Pass an optimizer "
        "of functional_optim.optim, or one over a transformation with a learning_rate that is a "
        "number."
    )


def get_rates(name: str, optimizer: Optimizer) -> list[Rate]:
    """Returns the learning rates of all groups."""
    key = rate_key(name, optimizer)
    return [group[key] for group in optimizer.param_groups]


def set_rate(group: ParamGroup, key: str, value: Rate) -> None:
    """Sets an option; an array stays an array of its dtype and shape."""
    old = group[key]
    if isinstance(old, jax.Array):
        value = jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)
    elif isinstance(old, np.ndarray):
        value = np.broadcast_to(np.asarray(value, old.dtype), old.shape)
    group[key] = value


def uses_betas(name: str, optimizer: Optimizer) -> bool:
    """Tells whether the momentum of an optimizer is the first of its betas.

    Raises:
      ValueError: the optimizer has neither betas nor a momentum.
    """
    if "betas" not in optimizer.defaults and "momentum" not in optimizer.defaults:
        raise ValueError(
            f"{name}: optimizer must support momentum or beta1 with `cycle_momentum` option "
            f"enabled, got {type(optimizer).__name__}. Pass cycle_momentum=False."
        )
    return "betas" in optimizer.defaults


def set_momentum(group: ParamGroup, betas: bool, value: float) -> None:
    """Sets the momentum of a group, which is the first of its betas or the option momentum."""
    if betas:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def per_group(where: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """Returns a value for each group, from one value for all or a list.

    Raises:
      ValueError: the length of the list is not the number of groups.
    """
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"{where} must have the same length as optimizer.param_groups, {n}, got "
            f"{len(value)}. Pass one value for each group, or one for all."
        )
    return list(value)


def check_epochs(where: str, value: float, least: int = 0) -> None:
    """Checks that a value is a number of epochs of at least `least`.

    Raises:
      ValueError: value is not such a number; the message starts with `where`.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:
        raise ValueError(
            f"{where} must be a finite number of epochs, at least {least}, got {value!r}."
        )


def check_fraction(where: str, value: float, positive: bool = False) -> None:
    """Checks that a factor is in [0, 1], or in (0, 1] where it must be positive.

    Raises:
      ValueError: value is outside this interval; the message starts with `where`.
    """
    is_number = isinstance(value, (int, float, np.number))
    if not is_number or not 0 <= value <= 1 or (positive and value == 0):
        interval = "(0, 1]" if positive else "[0, 1]"
        raise ValueError(f"{where} must be in {interval}, got {value!r}.")


def as_float64(*numbers: Any) -> tuple[Any, ...]:
    """Converts numbers to NumPy's float64, so that the maths of schedules runs on the host."""
    return tuple(np.float64(x) for x in numbers)
