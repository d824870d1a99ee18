"""Checks the values that an update computes, for any rule."""

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import PyTree
from .avals import NARROW
from .case import Case
from .comparison import assert_equal, assert_finite
from .registry import conformance

__all__ = ["check_extra_arguments", "check_purity", "check_zero_gradients"]


@conformance(
    "Add eps in float32 before dividing, and cast to the narrow dtype at the end.", eager=True
)
def check_zero_gradients(case: Case) -> None:
    """Checks that two steps with zero gradients are finite, in float32 and narrower dtypes."""
    for dtype in (d for d in case.dtypes if d in (*NARROW, "float32")):
        params = case.params(dtype)
        grads = jax.tree.map(jnp.zeros_like, params)
        state = case.init(params)
        for _ in range(2):
            updates, state = case.update(grads, state, params)
            assert_finite(updates, f"with zero gradients in {dtype}, the update")
            assert_finite(state, f"with zero gradients in {dtype}, the state")


@conformance(
    "Return new containers, and keep everything that changes in the returned state.", eager=True
)
def check_purity(case: Case) -> None:
    """Checks that equal arguments give equal results, and that update does not modify them."""
    params, grads = case.params(), case.grads()
    state = case.init(params)
    assert_equal(state, case.init(params), "the state", "when init is called again")
    copies = [_arrays(tree) for tree in (grads, state, params)]
    result = case.update(grads, state, params)
    for name, tree, copy in zip(
        ("gradients", "old state", "parameters"), (grads, state, params), copies, strict=True
    ):
        assert_equal(copy, _arrays(tree), f"the tree of the {name}", "after update")
    again = "when update is called again with the same arguments"
    assert_equal(result, case.first_update[1], "the result", again)


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(np.array, tree)


@conformance("Let update take **extra, and ignore unknown arguments.", eager=True)
def check_extra_arguments(case: Case) -> None:
    """Checks that an unknown extra argument does not change the result."""
    state, without = case.first_update
    extra = {"an_argument_of_another_link": jnp.ones(())}
    with_it = case.update(case.grads(), state, case.params(), **extra)
    assert_equal(without, with_it, "the result", "with an unknown extra argument")
