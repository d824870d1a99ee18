"""Rules whose `update` needs more than gradients: what holds for all others holds for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .. import problem
from ..rules import each_with_extra


def step_of(case, tx):
    """One step, which passes what the rule needs."""

    def step(grads, state, params):
        extra = case.extra(grads, params) if callable(case.extra) else case.extra
        return tx.update(grads, state, params, unknown="ignored", **extra)

    return step


@each_with_extra
def test_what_init_made_is_law_and_jit_changes_nothing(case):
    tx, params, grads = case.make(), problem.arrays(), problem.arrays(seed=1)
    state = tx.init(params)
    eager, jitted = (
        f(grads, state, params) for f in (step_of(case, tx), jax.jit(step_of(case, tx)))
    )
    assert jax.tree.map(jax.typeof, eager[1]) == jax.tree.map(jax.typeof, state)
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@each_with_extra
def test_the_state_is_carried_by_scan_and_mapped_over_seeds(case):
    tx = case.make()
    params = {k: jnp.stack([v, 2 * v]) for k, v in problem.arrays().items()}
    grads = {k: jnp.stack([v] * 3) for k, v in problem.arrays(seed=1).items()}

    def run(params):
        body = lambda state, g: step_of(case, tx)(g, state, params)[::-1]  # noqa: E731
        return jax.lax.scan(body, tx.init(params), grads)

    mapped = jax.vmap(run)(params)
    alone = run({k: v[1] for k, v in params.items()})
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-6)


@each_with_extra
def test_zero_gradients_and_missing_ones_are_finite(case):
    tx, params = case.make(), problem.arrays()
    zeros = {"w": jnp.zeros_like(params["w"]), "b": None}
    updates, state = step_of(case, tx)(zeros, tx.init(params), params)
    assert updates["b"] is None
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((updates, state)))


@each_with_extra
def test_without_what_it_needs_it_says_so(case):
    tx, params = case.make(), problem.arrays()
    with pytest.raises(ValueError, match=r"(value|grad)"):
        tx.update(params, tx.init(params), params)
