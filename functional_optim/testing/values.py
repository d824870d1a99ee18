"""Checks of what an update computes, whatever its rule."""

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .avals import NARROW
from .comparing import equal, finite
from .registry import conformance
from .subject import Subject

__all__ = ["check_extra_arguments", "check_purity", "check_zero_gradients"]


@conformance(
    "Add eps in float32 before dividing, and cast to the narrow dtype at the end.", eager=True
)
def check_zero_gradients(subject: Subject) -> None:
    """Checks that two steps with zero gradients leave all finite, in float32 and narrower."""
    for dtype in (d for d in subject.dtypes if d in (*NARROW, "float32")):
        params = subject.params(dtype)
        grads = jax.tree.map(jnp.zeros_like, params)
        state = subject.init(params)
        for _ in range(2):
            updates, state = subject.update(grads, state, params)
            finite(updates, f"with zero gradients in {dtype}, the update")
            finite(state, f"with zero gradients in {dtype}, the state")


@conformance(
    "Return new containers, and keep all that changes in the state that is returned.", eager=True
)
def check_purity(subject: Subject) -> None:
    """Checks that the same arguments give the same results, and stay as they were."""
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    equal(state, subject.init(params), "the state", "when init is called again")
    copies = [jax.tree.map(np.array, tree) for tree in (grads, state, params)]
    first = subject.update(grads, state, params)
    for name, tree, copy in zip(
        ("gradients", "old state", "parameters"), (grads, state, params), copies, strict=True
    ):
        equal(copy, _arrays(tree), f"the tree of the {name}", "after update")
    again = subject.update(grads, state, params)
    equal(first, again, "the result", "when update is called again with the same arguments")


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(np.array, tree)


@conformance("Let update take **extra, and ignore what it does not know.", eager=True)
def check_extra_arguments(subject: Subject) -> None:
    """Checks that an extra argument that the rule does not know changes nothing."""
    params, grads = subject.params(), subject.grads()
    state = subject.init(params)
    alone = subject.update(grads, state, params)
    more = subject.update(grads, state, params, an_argument_of_another_link=jnp.ones(()))
    equal(alone, more, "the result", "with an unknown extra argument")
