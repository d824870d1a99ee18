"""The schedulers' cases with the schedulers of this package."""

import copy
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_optim import optim
from functional_optim.optim.lr_scheduler import swa

from .sched_run import Side


@functools.cache
def _made(name: str, dtype: Any, **options: Any) -> optim.Optimizer:
    groups = [{"params": [jnp.ones(n + 1, dtype)]} for n in range(2)]
    return getattr(optim, name)(groups, **options)


@functools.cache
def _ones(n: int, dtype: Any) -> jax.Array:
    return jnp.ones(n, dtype)


def _parameter(n: int) -> jax.Array:
    """Returns a parameter, which is made once: no case changes it."""
    return _ones(n, np.float64 if jax.config.jax_enable_x64 else np.float32)


def _make(name: str, groups: list[dict[str, Any]], **options: Any) -> optim.Optimizer:
    """Copies an optimizer that is made once: no case makes a step.

    So the copies may share the transformations and arrays, which nothing but a step donates.
    """
    made = _made(name, groups[0]["params"][0].dtype, **options)
    shared = [group.tx for group in made._groups] + jax.tree.leaves((made.params, made.state))
    optimizer = copy.deepcopy(made, {id(x): x for x in shared})
    for group, given in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] = given["lr"]
    return optimizer


def _step(optimizer: optim.Optimizer) -> None:
    optimizer.step_count += 1


OURS = Side(
    _make,
    (optim.lr_scheduler, swa),
    _parameter,
    lambda v, dtype: jnp.asarray(v, dtype),
    _step,
)
