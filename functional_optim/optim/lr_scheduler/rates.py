"""The learning rates of an optimizer's groups, whatever the option is called."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..optimizer import Optimizer
from ..param_group import ParamGroup

__all__ = ["check_optimizer", "put_rate", "rate_key", "rates_of"]


def check_optimizer(name: str, optimizer: Any) -> None:
    """Refuses what is no optimizer of this package, and one whose rates are schedules.

    Raises:
      TypeError: it is one of those; the message names `name`.
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
    """The option that is the learning rate.

    Raises:
      KeyError: there is none; the message names `name`.
    """
    for key in ("lr", "learning_rate"):
        if all(key in group for group in optimizer.param_groups):
            return key
    raise KeyError(
        f"{name}: the groups have neither an option 'lr' nor 'learning_rate'. Pass an optimizer "
        "of functional_optim.optim, or one over a transformation with a learning_rate that is a "
        "number."
    )


def rates_of(name: str, optimizer: Optimizer) -> list[Any]:
    """The learning rates of all groups."""
    key = rate_key(name, optimizer)
    return [group[key] for group in optimizer.param_groups]


def put_rate(group: ParamGroup, key: str, value: Any) -> None:
    """Sets an option; one that is an array stays one, of its dtype and shape."""
    old = group[key]
    if isinstance(old, jax.Array):
        value = jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)
    elif isinstance(old, np.ndarray):
        value = np.broadcast_to(np.asarray(value, old.dtype), old.shape)
    group[key] = value
