"""Checks derivatives of an update, by gradients and by hyperparameters."""

from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, settable
from .comparison import finite
from .registry import conformance

__all__ = ["check_differentiation", "check_hyperparam_derivatives"]


@conformance("Guard roots and quotients before they are taken, not only their results.")
def check_differentiation(case: Case) -> None:
    """Checks that the derivative of a step by the gradients is finite.

    Forward mode, because it can differentiate `lax.while_loop`.
    """
    params, grads = case.params(), case.grads()
    state = case.init(params)
    numbers = settable(state)
    along = (jax.tree.map(jnp.ones_like, grads), jax.tree.map(jnp.zeros_like, numbers))
    slopes = case.slopes(params, state, grads, numbers, along)
    finite(slopes, "the derivative by the gradients")


@conformance("Guard roots, powers and quotients of hyperparameters before they are taken.")
def check_hyperparam_derivatives(case: Case) -> None:
    """Checks that the derivative of a step by each hyperparameter is finite.

    A state without hyperparameters of this package passes.
    """
    params, grads = case.params(), case.grads()
    state = case.init(params)
    numbers = settable(state)
    still: Any = jax.tree.map(jnp.zeros_like, grads)
    for name in numbers:
        along = (still, {k: jnp.full_like(v, k == name) for k, v in numbers.items()})
        slopes = case.slopes(params, state, grads, numbers, along)
        finite(slopes, f"the derivative of a step by {name}")
