"""Checks of derivatives, through an update and by hyperparameters."""

from typing import Any

import jax
import jax.numpy as jnp

from .comparing import finite
from .registry import conformance
from .subject import Subject, settable

__all__ = ["check_differentiation", "check_hyperparam_derivatives"]


@conformance("Guard roots and quotients before they are taken, not only their results.")
def check_differentiation(subject: Subject) -> None:
    """Checks that the derivative of a step by the gradients is finite.

    In forward mode, which goes through `lax.while_loop` as well.
    """
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    numbers = settable(state)
    along = (jax.tree.map(jnp.ones_like, grads), jax.tree.map(jnp.zeros_like, numbers))
    slopes = subject.slopes(params, state, grads, numbers, along)
    finite(slopes, "the derivative by the gradients")


@conformance("Guard roots, powers and quotients of hyperparameters before they are taken.")
def check_hyperparam_derivatives(subject: Subject) -> None:
    """Checks that the derivative of a step by each hyperparameter is finite.

    A state without hyperparameters of this package passes.
    """
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    numbers = settable(state)
    still: Any = jax.tree.map(jnp.zeros_like, grads)
    for name in numbers:
        along = (still, {k: jnp.full_like(v, k == name) for k, v in numbers.items()})
        slopes = subject.slopes(params, state, grads, numbers, along)
        finite(slopes, f"the derivative of a step by {name}")
