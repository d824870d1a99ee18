import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.trees.norms import measure_norm, norm_of, rescale_norm
from functional_optim.rules import TreeStats, leaf_rule

from ..trees import assert_finite


def clipped(grads, max_norm=1.0, wrap=lambda f: f):
    """Returns the updates and metrics of `clip_by_global_norm`."""
    tx = fo.clip_by_global_norm(max_norm)
    updates, state = wrap(tx.update)(grads, tx.init(grads))
    return updates, state.metrics


def both_norms(grads, wrap=lambda f: f):
    """Returns the norm by the function, and the norm that the link measured."""
    return wrap(fo.global_norm)(grads), clipped(grads, wrap=wrap)[1]["global_norm"]


wraps = pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])


def test_two_thousand_bfloat16_leaves_keep_five_digits():
    rng = np.random.default_rng(0)
    grads = list(jnp.asarray(rng.standard_normal((2000, 1000)), jnp.bfloat16))
    exact = np.sqrt(np.square(np.asarray(grads, np.float64)).sum())
    for norm in both_norms(grads):
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("grads", "norm"),
    [
        ({"huge": jnp.full(4, 1e20)}, 2e20),
        ({"largest": jnp.array([2e38, 1e38])}, 5**0.5 * 1e38),
        ({"largest": jnp.array([3e38]), "zero": jnp.zeros(3)}, 3e38),
        ({"tiny": jnp.full(4, 1e-25)}, 2e-25),
        ({"tiny": jnp.full(4, 1e-25), "zero": jnp.zeros(3)}, 2e-25),
        ({"huge": jnp.full(4, 1e20), "tiny": jnp.full(4, 1e-25), "zero": jnp.zeros(3)}, 2e20),
        ({"w": jnp.array([3.0]), "b": jnp.array([4.0], jnp.bfloat16)}, 5.0),
        ({"complex": jnp.array([3 + 4j, 12j])}, 13.0),
        ({"none": jnp.zeros((0, 3)), "one": jnp.ones(())}, 1.0),
        ({"zero": jnp.zeros(3)}, 0.0),
        ({"inf": jnp.array([jnp.inf, 1.0])}, np.inf),
        ({"inf": jnp.array([-jnp.inf]), "huge": jnp.full(4, 1e20)}, np.inf),
        ({"inf": jnp.array([-jnp.inf]), "tiny": jnp.full(4, 1e-25)}, np.inf),
        ({"nan": jnp.array([jnp.nan, 1.0]), "one": jnp.ones(1)}, np.nan),
        ({"nan": jnp.array([jnp.nan]), "inf": jnp.array([jnp.inf])}, np.nan),
        ({}, 0.0),
    ],
    ids=lambda x: "+".join(x) or "empty" if isinstance(x, dict) else "",
)
@wraps
def test_the_norm_of_leaves_of_every_size(grads, norm, wrap):
    for ours in both_norms(grads, wrap):
        np.testing.assert_allclose(ours, norm, rtol=1e-6)


def test_the_norms_of_a_batch_of_every_size():
    """Under `vmap` both measurements are computed, and each run takes its own."""
    values = np.array([1e20, 3.0, 1e-25, 0.0, np.inf, np.nan], np.float32)
    tx = fo.clip_by_global_norm(1.0)

    def norm(value):
        grads = {"a": jnp.full(4, value), "b": jnp.zeros(3)}
        updates, state = tx.update(grads, tx.init(grads))
        return state.metrics["global_norm"], updates["a"][0]

    norms, updates = jax.jit(jax.vmap(norm))(values)
    np.testing.assert_allclose(norms, 2 * values, rtol=1e-6)
    np.testing.assert_allclose(updates, [0.5, 0.5, 1e-25, 0.0, np.nan, np.nan], rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("value", [1e200, 1e-200, 3.0])
def test_the_norm_of_float64(value):
    for ours in both_norms({"a": jnp.full(4, value), "b": jnp.zeros(3)}):
        np.testing.assert_allclose(ours, 2 * value, rtol=1e-14)


@pytest.mark.parametrize(
    ("squares", "factor"),
    [
        ([1.0, 3.0], 1.0),
        ([1e-20, 0.0], 1.0),
        ([3e38], 1.0),
        ([np.inf, 1.0], 2.0**-64),
        ([3e38, 3e38], 2.0**-64),
        ([1e-30, 0.0], 2.0**64),
        ([0.0, 0.0], 2.0**64),
        ([np.nan, 1.0], 1.0),
        ([np.nan, np.inf], 1.0),
    ],
    ids=str,
)
def test_squares_are_measured_again_where_they_over_or_underflowed(squares, factor):
    assert rescale_norm({"squares": jnp.array(squares, jnp.float32)}) == factor


@pytest.mark.parametrize(("value", "times"), [(1.0, 1), (1e-9, 1), (1e20, 2), (1e-25, 2), (0.0, 2)])
def test_sound_norms_are_measured_once(value, times):
    """Outside of `jit` nothing is computed that is not used; within, a conditional decides."""
    calls = []

    def counted(g, slots, p, ctx):
        jax.debug.callback(lambda: calls.append(1))
        return measure_norm(g, slots, p, ctx)

    @leaf_rule(
        tree_stats=TreeStats(
            measure=counted,
            rescale=rescale_norm,
            combine=lambda stats, last: {"norm": norm_of(stats, last)},
            metrics=("norm",),
        )
    )
    def measured(g, slots, p, ctx):
        return g, {}

    tx, grads = measured(), {"w": jnp.full(4, value)}
    for wrap in (lambda f: f, jax.jit):
        calls.clear()
        _, state = wrap(tx.update)(grads, tx.init(grads))
        jax.effects_barrier()
        assert len(calls) == times
        np.testing.assert_allclose(state.metrics["norm"], 2 * value, rtol=1e-6)


@pytest.mark.parametrize("value", [3.0, 1e20, 1e-25, 0.0, np.inf, np.nan])
def test_the_norm_of_a_large_array_of_every_size(value):
    # Large arrays are summed once where that is sound, and small ones are not.
    size = 2**18
    ours = fo.global_norm({"large": jnp.full(size, value), "zero": jnp.zeros(3)})
    np.testing.assert_allclose(ours, value * np.sqrt(size), rtol=1e-5)
    one = jnp.zeros(size).at[7].set(value)
    np.testing.assert_allclose(fo.global_norm(one), value, rtol=1e-6)


def test_the_derivative_of_the_norm_of_a_large_array():
    slope = jax.grad(fo.global_norm)(jnp.full(2**18, 2.0))
    np.testing.assert_allclose(slope, 1 / 2**9, rtol=1e-5)
    assert_finite(jax.grad(fo.global_norm)(jnp.zeros(2**18)))


def test_none_and_numbers_count_in_a_norm_as_they_should():
    assert fo.global_norm({"a": 3.0, "b": None, "c": [4.0]}) == 5.0
    assert fo.global_norm({"int": jnp.array([3, 4])}) == 5.0


@wraps
def test_clipping_leaves_zero_gradients_zero(wrap):
    for max_norm in (1.0, 0.0):
        updates, metrics = clipped({"w": jnp.zeros(3)}, max_norm, wrap)
        assert updates["w"].tolist() == [0.0, 0.0, 0.0]
        assert metrics["clip_factor"] == 1


@wraps
@pytest.mark.parametrize("size", [1e20, 1e-25, 3.0])
def test_clipped_updates_have_the_given_norm(size, wrap):
    updates, metrics = clipped({"w": jnp.full(4, size)}, size, wrap)
    np.testing.assert_allclose(fo.global_norm(updates), size, rtol=1e-6)
    np.testing.assert_allclose(metrics["clip_factor"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(metrics["global_norm"], 2 * size, rtol=1e-6)


def test_within_the_bound_the_updates_are_untouched():
    g = jnp.array([0.1, -0.7])
    updates, metrics = clipped(g, max_norm=10.0)
    assert updates.tolist() == g.tolist()
    assert metrics["clip_factor"] == 1


@wraps
def test_updates_that_are_not_finite_do_not_look_clipped(wrap):
    updates, metrics = clipped({"a": jnp.array([jnp.nan, 1.0]), "b": jnp.ones(2)}, wrap=wrap)
    assert jnp.isnan(updates["a"]).all()
    assert jnp.isnan(updates["b"]).all()
    assert jnp.isnan(metrics["clip_factor"])
    updates, metrics = clipped({"a": jnp.array([jnp.inf]), "b": jnp.ones(2)}, wrap=wrap)
    assert jnp.isnan(updates["a"]).all()
    assert metrics["clip_factor"] == 0


@wraps
@pytest.mark.parametrize(
    "g", [[0.0, 0.0], [3.0, 4.0], [0.3, 0.0], [1e20, 1e20], [1e-25, 0.0]], ids=str
)
def test_the_derivative_of_a_norm_and_of_clipping_is_finite(g, wrap):
    g = {"a": jnp.array(g), "b": jnp.zeros(2)}
    assert_finite(wrap(jax.grad(fo.global_norm))(g))
    assert_finite(wrap(jax.grad(lambda g: clipped(g)[0]["a"].sum()))(g))


def test_the_derivative_of_a_norm_is_the_direction():
    slope = jax.grad(fo.global_norm)(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(slope, [0.6, 0.8], rtol=1e-6)
