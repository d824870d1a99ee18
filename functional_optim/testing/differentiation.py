"""Checks the derivatives of a step by gradients and by hyperparameters."""

import jax
import jax.numpy as jnp

from .case import Case, settable
from .comparison import assert_finite
from .registry import conformance

__all__ = ["check_differentiation", "check_hyperparam_derivatives"]


@conformance("Guard roots and quotients before they are taken, not only their results.")
def check_differentiation(case: Case) -> None:
    """Checks that the derivative of a step by the gradients is finite.

    The derivative is in forward mode, which can differentiate `lax.while_loop`.
    """
    params, grads, state = case.params(), case.grads(), case.state
    hyperparams = settable(state)
    tangents = (jax.tree.map(jnp.ones_like, grads), jax.tree.map(jnp.zeros_like, hyperparams))
    slopes = case.slopes(params, state, grads, hyperparams, tangents)
    assert_finite(slopes, "the derivative by the gradients")


@conformance("Guard roots, powers and quotients of hyperparameters before they are taken.")
def check_hyperparam_derivatives(case: Case) -> None:
    """Checks that the derivative of a step by each hyperparameter is finite.

    A state without hyperparameters of this package passes.
    """
    params, grads, state = case.params(), case.grads(), case.state
    hyperparams = settable(state)
    zeros = jax.tree.map(jnp.zeros_like, grads)
    for name in hyperparams:
        tangents = (zeros, {k: jnp.full_like(v, k == name) for k, v in hyperparams.items()})
        slopes = case.slopes(params, state, grads, hyperparams, tangents)
        assert_finite(slopes, f"the derivative of a step by {name}")
