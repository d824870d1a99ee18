"""Narrow parameters whose gradients are float64, as under x64: every rule takes them."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from ..rules import cases, cases_with_extra

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


@pytest.mark.usefixtures("x64", "eager")
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name) for c in (*cases(), *cases_with_extra()) if "-" not in c.name],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_may_be_wider_than_parameters(case, dtype):
    tx = case.make()
    if dtype == "float16" and "master_remainder" in repr(tx):
        pytest.skip("it keeps halves of bfloat16")
    if case.factory is fo.rescale_heads:
        pytest.skip("these parameters have no heads")
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    grads = jax.tree.map(lambda p: 0.01 * jnp.ones(p.shape, jnp.float64), params)
    state = tx.init(params)
    updates, new = case.update(tx, grads, state, params)
    assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, state)
    moved = fo.apply_updates(params, updates)
    assert all(x.dtype == dtype and jnp.isfinite(x).all() for x in jax.tree.leaves(moved))
