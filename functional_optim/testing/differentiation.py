"""Checks of derivatives, through an update and by hyperparameters."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.hyperparams import set_hyperparams
from ..core.protocol import PyTree
from .comparing import finite
from .registry import conformance
from .subject import Subject, settable

__all__ = ["check_differentiation", "check_hyperparam_derivatives"]


@conformance("Guard roots and quotients before they are taken, not only their results.", eager=True)
def check_differentiation(subject: Subject) -> None:
    """Checks that the derivative through two steps, by the gradients, is finite.

    In forward mode, which goes through `lax.while_loop` as well.
    """
    params = subject.params()
    state = subject.init(params)
    grads = [subject.grads(seed=seed) for seed in (1, 2)]

    def run(first: PyTree) -> PyTree:
        p, s = subject.step(params, state, first)
        return _floats(subject.step(p, s, grads[1]))

    ones = jax.tree.map(jnp.ones_like, grads[0])
    _, slopes = jax.jvp(run, (grads[0],), (ones,))
    finite(slopes, "the derivative by the gradients")


@conformance(
    "Guard roots, powers and quotients of hyperparameters before they are taken.", eager=True
)
def check_hyperparam_derivatives(subject: Subject) -> None:
    """Checks that the derivative of two steps by each hyperparameter is finite.

    A state without hyperparameters of this package passes.
    """
    params = subject.params()
    state = subject.init(params)
    known = settable(state)
    if not known:
        return
    grads = [subject.grads(seed=seed) for seed in (1, 2)]

    def run(numbers: dict[str, jax.Array]) -> PyTree:
        p, s = params, set_hyperparams(state, numbers)
        for g in grads:
            p, s = subject.step(p, s, g)
        return _floats(p)

    for name in known:
        tangents = {k: jnp.full_like(v, k == name) for k, v in known.items()}
        _, slopes = jax.jvp(run, (known,), (tangents,))
        finite(slopes, f"the derivative of the parameters by {name}")


def _floats(tree: PyTree) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
