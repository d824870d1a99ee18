"""The schedulers' cases with the schedulers of this package."""

import copy
import functools
from typing import Any

import jax.numpy as jnp

from functional_optim import optim
from functional_optim.optim.lr_scheduler import swa

from .sched_run import Side


@functools.cache
def _made(name: str, dtype: Any, **options: Any) -> optim.Optimizer:
    groups = [{"params": [jnp.ones(n + 1, dtype)]} for n in range(2)]
    return getattr(optim, name)(groups, **options)


def _make(name: str, groups: list[dict[str, Any]], **options: Any) -> optim.Optimizer:
    """Copies an optimizer that is made once, because the cases do not change its parameters."""
    optimizer = copy.deepcopy(_made(name, groups[0]["params"][0].dtype, **options))
    for group, options_of_group in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] = options_of_group["lr"]
    return optimizer


def _step(optimizer: optim.Optimizer) -> None:
    optimizer.step_count += 1


OURS = Side(
    _make,
    (optim.lr_scheduler, swa),
    jnp.ones,
    lambda v, dtype: jnp.asarray(v, dtype),
    _step,
)
