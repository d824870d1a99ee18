"""What the README says of optax beside this library, held of both."""

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
def lenient():
    """optax promotes implicitly."""
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
        assert state.scale_by_adam.steps.tolist() == [0, 1]


@compare
def test_dtype_of_the_moments_of_bfloat16_parameters(library):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    state = library.scale_by_adam().init(params)
    assert state.nu["w"].dtype == {fo: jnp.float32, optax: jnp.bfloat16}[library]


def largest_error_of_adam(library, b2: float, steps: int = 1000) -> float:
    """Relative to float64, over steps with gradients around 1, for b1 = 0."""
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
def test_what_a_mask_is_called_with_at_update(library):
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
        with pytest.raises(ValueError, match="scale_by_adam: b1 must be in"):
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
