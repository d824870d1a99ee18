"""Checks the README's comparison with optax, on both libraries."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

PARAMS = {"w": jnp.ones(3), "b": jnp.ones(2)}

compare = pytest.mark.parametrize("library", [fo, optax], ids=["functional_optim", "optax"])


@pytest.fixture(autouse=True)
def standard_promotion():
    """Allows implicit promotion, because optax promotes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@compare
def test_programs_that_two_learning_rates_need(library):
    step = jax.jit(lambda params, state, update: update(params, state, params), static_argnums=2)
    for learning_rate in (1e-3, 1e-2):
        tx = library.adam(learning_rate)
        step(PARAMS, tx.init(PARAMS), tx.update)
    assert step._cache_size() == {fo: 1, optax: 2}[library]


@compare
def test_a_gradient_that_is_none(library):
    tx = library.adam(1e-3)
    state = tx.init(PARAMS)
    grads = {"w": jnp.ones(3), "b": None}
    if library is optax:
        with pytest.raises(ValueError, match="different types at key path"):
            tx.update(grads, state, PARAMS)
    else:
        updates, state = tx.update(grads, state, PARAMS)
        assert updates["b"] is None
        assert state.scale_by_adam.leaf_counts.tolist() == [0, 1]


@compare
def test_dtype_of_the_moments_of_bfloat16_parameters(library):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    state = library.scale_by_adam().init(params)
    assert state.nu["w"].dtype == {fo: jnp.float32, optax: jnp.bfloat16}[library]


def largest_error_of_adam(library, b2: float, steps: int = 1000) -> float:
    """Returns the error relative to float64, over gradients around 1, for b1 = 0."""
    tx = library.scale_by_adam(b1=0.0, b2=b2)
    grads = (1 + 0.1 * np.random.default_rng(0).standard_normal(steps)).astype(np.float32)

    def one(state, g):
        u, state = tx.update(g, state)
        return state, u

    _, found = jax.lax.scan(one, tx.init(jnp.float32(0)), grads)
    b2, g = float(np.float32(b2)), grads.astype(np.float64)
    weights = b2 ** np.arange(steps)
    mean = np.convolve(g**2, weights)[:steps] / np.cumsum(weights)
    return float(np.abs(np.asarray(found) / (g / np.sqrt(mean)) - 1).max())


@compare
def test_error_of_adam_in_float32(library):
    error = largest_error_of_adam(library, b2=0.9999)
    assert error < 1e-6 if library is fo else error > 2e-5


@compare
def test_a_mask_is_called_with_the_updates_or_parameters(library):
    seen = []

    def mask(tree):
        seen.append(tree["w"])
        return {"w": True, "b": False}

    tx = library.masked(library.scale(1.0), mask)
    grads = jax.tree.map(lambda p: 7 * p, PARAMS)
    tx.update(grads, tx.init(PARAMS), PARAMS)
    expected = {fo: PARAMS, optax: grads}[library]
    assert seen[-1] is expected["w"]


@compare
def test_adam_on_complex_parameters(library):
    params = {"w": jnp.array([3 + 4j])}
    tx = library.adam(1.0)
    updates, _ = tx.update(params, tx.init(params), params)
    expected = {fo: -1 - 1j, optax: -0.6 - 0.8j}[library]
    np.testing.assert_allclose(updates["w"], [expected], rtol=1e-4)


@compare
def test_an_argument_out_of_range(library):
    if library is optax:
        library.adam(1e-3, b1=1.2)
    else:
        with pytest.raises(ValueError, match="adam: b1 must be in"):
            library.adam(1e-3, b1=1.2)


@compare
def test_path_of_a_moment_behind_a_clip(library):
    state = library.chain(library.clip(1.0), library.adam(1e-3)).init(PARAMS)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    expected = {fo: ".scale_by_adam.mu['w']", optax: "[1][0].mu['w']"}
    assert expected[library] in paths


@compare
def test_equality_and_pickling(library):
    tx = library.adam(1e-3)
    assert (tx == library.adam(1e-3)) == (library is fo)
    if library is optax:
        with pytest.raises(AttributeError, match="local object"):
            pickle.dumps(tx)
    else:
        assert pickle.loads(pickle.dumps(tx)) == tx


@compare
def test_a_gradient_of_zeros_in_float16(library):
    tx, params = library.adam(1e-3), {"w": jnp.zeros(2, jnp.float16)}
    updates, _ = tx.update(params, tx.init(params), params)
    assert bool(jnp.isnan(updates["w"]).all()) == (library is optax)


@compare
def test_the_norm_of_2000_leaves_of_bfloat16(library):
    tx = library.clip_by_global_norm(1.0)
    grads = [jnp.ones(1000, jnp.bfloat16)] * 2000
    updates, _ = tx.update(grads, tx.init(grads))
    clipped = np.sqrt(sum(float(np.sum(np.square(u, dtype=np.float64))) for u in updates))
    assert clipped < 1.01 if library is fo else clipped > 1.9


@compare
def test_a_step_after_one_that_was_not_finite(library):
    tx = library.MultiSteps(library.sgd(1.0), every_k_schedule=2)
    state = tx.init(PARAMS)
    for value in (jnp.nan, 1.0, 1.0, 1.0):
        grads = jax.tree.map(lambda p, v=value: v * jnp.ones_like(p), PARAMS)
        updates, state = tx.update(grads, state, PARAMS)
    assert bool(jnp.isfinite(updates["w"]).all()) == (library is fo)


@compare
def test_an_update_that_is_not_finite(library):
    tx = library.apply_if_finite(library.scale(jnp.inf), 3)
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    assert bool(jnp.isfinite(updates["w"]).all()) == (library is fo)


@compare
def test_a_plateau_below_zero(library):
    tx = library.contrib.reduce_on_plateau(factor=0.5, patience=2)
    state = tx.init(PARAMS)
    for _ in range(10):
        updates, state = tx.update(PARAMS, state, PARAMS, value=-1.0)
    assert (float(updates["w"][0]) < 1.0) == (library is fo)


@compare
def test_lookahead_on_plain_parameters(library):
    tx = library.lookahead(library.sgd(0.1), sync_period=2, slow_step_size=0.5)
    state = tx.init(PARAMS)
    if library is optax:
        with pytest.raises(AttributeError, match="has no attribute 'fast'"):
            tx.update(PARAMS, state, PARAMS)
    else:
        updates, _ = tx.update(PARAMS, state, PARAMS)
        np.testing.assert_allclose(updates["w"], np.full(3, -0.1), rtol=1e-6)


@compare
def test_the_gradient_of_some_rows(library):
    table = {"w": jnp.ones((5, 2))}
    rows = {"w": fo.row_sparse(jnp.ones((1, 2)), jnp.array([3]), (5, 2))}
    tx = library.adagrad(0.1)
    if library is optax:
        with pytest.raises((TypeError, ValueError)):
            tx.update(rows, tx.init(table), table)
    else:
        updates, _ = tx.update(rows, tx.init(table), table)
        assert updates["w"].data.shape == (1, 2)
