"""Narrow parameters whose gradients are float64, as under x64: every rule takes them."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

from ..rules import REPRESENTATIVES, cases, cases_with_extra, each_of

pytestmark = pytest.mark.usefixtures("x64")
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
PLAIN = [c for c in (*cases(), *cases_with_extra()) if "-" not in c.name]


def problem(case, dtype):
    """Returns a step of a rule, its parameters, and float64 gradients."""
    tx = case.make()
    if dtype == "float16" and "master_remainder" in repr(tx):
        pytest.skip("it keeps halves of bfloat16")
    if case.factory is fo.rescale_heads:
        pytest.skip("these parameters have no heads")
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    grads = jax.tree.map(lambda p: 0.01 * jnp.ones(p.shape, jnp.float64), params)

    def step(params, grads):
        state = tx.init(params)
        updates, new = case.update(tx, grads, state, params)
        return fo.apply_updates(params, updates), state, new

    return step, params, grads


# The engine treats both narrow dtypes in the same way.
TYPED = [(case, "bfloat16") for case in PLAIN] + [
    (case, "float16") for case in PLAIN if case.name in REPRESENTATIVES
]


@pytest.mark.parametrize(("case", "dtype"), TYPED, ids=[f"{c.name}-{d}" for c, d in TYPED])
def test_gradients_may_be_wider_than_parameters(case, dtype):
    step, params, grads = problem(case, dtype)
    moved, state, new = jax.eval_shape(step, params, grads)
    assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, state)
    assert jax.tree.map(jax.typeof, moved) == jax.tree.map(jax.typeof, params)


@each_of(c for c in PLAIN if c.name in REPRESENTATIVES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_along_wider_gradients_are_finite(case, dtype):
    step, params, grads = problem(case, dtype)
    moved, *_ = step(params, grads)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(moved))
