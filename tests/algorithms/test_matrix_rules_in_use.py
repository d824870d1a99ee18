"""Every matrix rule works in the situations in which users put it, on purpose or not."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..matrix_rules import make_all

RULES = make_all()
each = pytest.mark.parametrize("name", RULES)
each_kind = pytest.mark.parametrize(
    "name", ["adamuon", "apollo", "dion", "galore", "psgd_kron", "scion", "shampoo", "soap"]
)
"""One of each kind, for what the engine does: the others have states of the same forms."""

SHAPES = {"w": (4, 6), "v": (4, 6), "b": (3,)}
DIFFERENT = {"w": (4, 6), "b": (3,)}


def arrays(seed, shapes=SHAPES, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(s).astype(dtype)) for k, s in shapes.items()}


@functools.cache
def step_of(name):
    """Compiles one program of a rule for all tests."""
    return jax.jit(functools.partial(fo.apply_gradients, RULES[name]))


def run(name, params, grads, state=None):
    state = RULES[name].init(params) if state is None else state
    for g in grads:
        params, state = step_of(name)(g, state, params)
    return params, state


def all_finite(tree):
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(np.isfinite(np.asarray(x, np.float64)).all() for x in floats)


@each
def test_gradients_of_zero_and_then_others(name):
    zeros = jax.tree.map(np.zeros_like, arrays(0))
    params, state = run(name, arrays(0), [zeros, zeros, zeros])
    assert all_finite((params, state))
    after, state = run(name, params, [arrays(1), arrays(2), arrays(3)], state)
    assert all_finite((after, state))
    assert not np.array_equal(after["w"], params["w"])


@each
def test_gradients_of_any_size(name):
    for size in (1e-18, 1e-10, 1e10):
        grads = jax.tree.map(lambda x, size=size: np.float32(size) * np.asarray(x), arrays(1))
        assert all_finite(run(name, arrays(0), [grads] * 3)[0])


@each
def test_gradients_of_rank_one(name):
    ones = jax.tree.map(np.ones_like, arrays(0))
    assert all_finite(run(name, arrays(0), [ones] * 4))


@each
def test_a_nan_in_one_leaf_stays_there(name):
    params, state = run(name, arrays(0), [arrays(1), arrays(2)])
    grads = arrays(3)
    bad = {**grads, "w": np.array(grads["w"])}
    bad["w"][0, 0] = np.nan
    good, _ = run(name, params, [grads], state)
    after, _ = run(name, params, [bad], state)
    for k in ("v", "b"):
        np.testing.assert_allclose(after[k], good[k], rtol=1e-5, atol=1e-6, err_msg=k)


@each
def test_one_of_two_equal_leaves_has_no_gradient(name):
    params, grads = arrays(0), arrays(1)
    # A state that counts the updates of each leaf from the start runs one program, and not two.
    state = fo.per_leaf_counts(RULES[name]).init(params)
    after, _ = run(name, params, [{**grads, "v": None}] * 3, state)
    expected, _ = run(name, params, [grads] * 3)
    np.testing.assert_array_equal(after["v"], params["v"])
    for k in ("w", "b"):
        np.testing.assert_allclose(after[k], expected[k], rtol=1e-4, atol=1e-5, err_msg=k)


@each
def test_one_program_for_twelve_steps(name):
    params, state = run(name, arrays(0), [arrays(1)])
    programs = step_of(name)._cache_size()
    run(name, params, [arrays(i) for i in range(2, 13)], state)
    assert step_of(name)._cache_size() == programs


@each
def test_no_two_arrays_of_a_new_state_share_memory(name):
    """They may be donated, together with the parameters."""
    params = arrays(0)
    leaves = jax.tree.leaves((params, RULES[name].init(params)))
    places = [x.unsafe_buffer_pointer() for x in leaves if x.size]
    assert len(set(places)) == len(places)


@each_kind
def test_a_scan_and_donation_give_the_same_numbers(name):
    tx, grads = RULES[name], [arrays(i) for i in (1, 2, 3)]
    expected, _ = run(name, arrays(0), grads)
    stacked = jax.tree.map(lambda *x: np.stack(x), *grads)

    def step(carry, g):
        return fo.apply_gradients(tx, g, carry[1], carry[0]), None

    params = arrays(0)
    scanned = jax.jit(lambda carry, g: jax.lax.scan(step, carry, g)[0], donate_argnums=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = scanned((params, tx.init(params)), stacked)
    for k in expected:
        np.testing.assert_allclose(found[k], expected[k], rtol=1e-4, atol=1e-5, err_msg=k)


ODD = {"row": (1, 6), "column": (6, 1), "one": (1, 1)}
ODD |= {"a": (0, 6), "c": (6, 0), "d": (0, 0), "b": (0,)}


@each
def test_matrices_of_odd_shapes(name):
    """Runs rows, columns, and arrays without elements, in one program; and no arrays at all."""
    tx = RULES[name]
    for shapes in (ODD, {}):
        params = arrays(0, shapes)
        update, state = jax.jit(tx.update), tx.init(params)
        for seed in (1, 2):
            updates, state = update(arrays(seed, shapes), state, params)
            assert jax.tree.map(jnp.shape, updates) == shapes
            assert all_finite((updates, state))
        assert all(bool(jnp.any(u)) for u in jax.tree.leaves(updates) if u.size)


@each
def test_narrow_parameters_keep_their_dtype(name):
    tx, params = RULES[name], arrays(0, DIFFERENT, jnp.bfloat16)
    state = tx.init(params)
    after, new = jax.jit(functools.partial(fo.apply_gradients, tx))(params, state, params)
    assert jax.tree.map(jnp.result_type, (after, new)) == jax.tree.map(
        jnp.result_type, (params, state)
    )
    assert all_finite((after, new))


@each
def test_integers_are_refused_by_name(name):
    with pytest.raises(TypeError, match="the parameter at 'n' has dtype int32"):
        RULES[name].init({**arrays(0), "n": jnp.arange(6).reshape(2, 3)})


@each
def test_axes_that_do_not_fit_are_refused_by_name(name):
    tx = make_all(lambda params: {"w": fo.MatrixAxes(0, 2), "v": fo.MatrixAxes(), "b": None})[name]
    with pytest.raises(ValueError, match=r"'w'.*does not fit a parameter of shape \(4, 6\)"):
        tx.init(arrays(0))


@each_kind
def test_learning_rates_may_be_traced_and_mapped(name):
    params, grads, rates = arrays(0, DIFFERENT), arrays(1, DIFFERENT), jnp.asarray([0.01, 0.02])

    def moved(rate):
        tx = make_all(learning_rate=rate)[name]
        _, state = tx.update(grads, tx.init(params), params)
        return tx.update(grads, state, params)[0]

    both = jax.jit(jax.vmap(moved))(rates)
    for k in params:
        one, two = both[k]
        np.testing.assert_allclose(two, 2 * one, rtol=1e-4, atol=1e-6, err_msg=k)
