"""The optimizers that most tests of the stateful side run over, and gradients for them."""

from typing import Any

import jax
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem

MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "SGD-momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "SGD-nesterov": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.1),
    "Adam-amsgrad": lambda params: optim.Adam(params, lr=0.1, amsgrad=True),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1),
    "NAdam": lambda params: optim.NAdam(params, lr=0.1, momentum_decay=0.1),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.1),
    "RMSprop-full": lambda params: optim.RMSprop(params, lr=0.1, momentum=0.9, centered=True),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.1, lr_decay=0.1),
    "ASGD": lambda params: optim.ASGD(params, lr=0.1, lambd=0.1, t0=2),
    "Lion": lambda params: optim.Lion(params, lr=0.1),
    "Optimizer": lambda params: optim.Optimizer(
        params, fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(0.1))
    ),
}

REPRESENTATIVES = ("SGD-momentum", "Adam-amsgrad", "NAdam", "ASGD", "Optimizer")
"""Optimizers of each kind of state: with counts or numbers per parameter, with the most slots, and
a chain. They suffice for tests of properties that do not depend on the rule."""

each_kind = pytest.mark.parametrize(
    "make", [pytest.param(MAKERS[k], id=k) for k in REPRESENTATIVES]
)
each = pytest.mark.parametrize("make", [pytest.param(v, id=k) for k, v in MAKERS.items()])


def grads(seed: int, dtype: Any = np.float32) -> dict[str, jax.Array]:
    """Returns gradients of the small problem."""
    return problem.arrays(dtype, seed=100 + seed)


def steps(optimizer: Any, numbers: Any, dtype: Any = np.float32) -> Any:
    """Makes a step with the gradients of each number; returns the parameters."""
    for seed in numbers:
        optimizer.step(grads(seed, dtype))
    return optimizer.params


def quadratic(params: Any, target: Any) -> jax.Array:
    """Computes half the squared distance of all parameters to a number."""
    return sum(0.5 * jax.numpy.sum(abs(p - target) ** 2) for p in jax.tree.leaves(params))
