"""What users do to optimizers of matrices, on purpose or not: every rule withstands it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..matrix_rules import make_all

RULES = make_all()
each = pytest.mark.parametrize("name", RULES)
SHAPES = {"w": (4, 6), "v": (4, 6), "b": (3,)}


def arrays(seed, shapes=SHAPES, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(s), dtype) for k, s in shapes.items()}


@functools.cache
def step_of(name):
    """One program of a rule for all tests."""
    tx = RULES[name]

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return fo.apply_updates(params, updates), state

    return step


def run(name, params, grads, state=None):
    state = RULES[name].init(params) if state is None else state
    for g in grads:
        params, state = step_of(name)(params, state, g)
    return params, state


def all_finite(tree):
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(bool(jnp.isfinite(x).all()) for x in floats)


@each
def test_gradients_of_zero_and_then_others(name):
    zeros = jax.tree.map(jnp.zeros_like, arrays(0))
    params, state = run(name, arrays(0), [zeros, zeros, zeros])
    assert all_finite((params, state))
    after, state = run(name, params, [arrays(1), arrays(2), arrays(3)], state)
    assert all_finite((after, state))
    assert not np.array_equal(after["w"], params["w"])


@each
def test_a_nan_in_one_leaf_stays_there(name):
    params, state = run(name, arrays(0), [arrays(1), arrays(2)])
    grads = arrays(3)
    bad = {**grads, "w": grads["w"].at[0, 0].set(jnp.nan)}
    good, _ = run(name, params, [grads], state)
    after, _ = run(name, params, [bad], state)
    assert not bool(jnp.isfinite(after["w"]).all())
    for k in ("v", "b"):
        np.testing.assert_allclose(after[k], good[k], rtol=1e-5, atol=1e-6, err_msg=k)


@each
def test_one_program_for_all_steps(name):
    params, grads = arrays(0), [arrays(i) for i in range(1, 13)]
    run(name, params, grads)
    step = step_of(name)
    before = step._cache_size()
    run(name, params, grads)
    assert step._cache_size() == before
