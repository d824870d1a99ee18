"""Clipping by element; the norms are tested with the core's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem


def clipped(g, bound=1.0):
    tx = fo.clip(bound)
    return tx.update(g, tx.init(g))[0]


def test_bounds_every_element_on_both_sides():
    assert clipped(jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0])).tolist() == [-1, -0.5, 0, 0.5, 1]


def test_both_parts_of_a_complex_element_are_bounded():
    assert clipped(jnp.array([3 - 0.5j, 0.5 - 3j])).tolist() == [1 - 0.5j, 0.5 - 1j]


def test_infinities_are_bounded_and_nan_is_seen():
    updates = clipped(jnp.array([jnp.inf, -jnp.inf, jnp.nan]))
    assert updates[:2].tolist() == [1.0, -1.0]
    assert jnp.isnan(updates[2])


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_the_norm_is_that_of_the_updates_of_the_links_before(place):
    before, after = {"first": (0, 2), "middle": (1, 1), "last": (2, 0)}[place]
    tx = fo.chain(*[fo.scale(2.0)] * before, fo.clip_by_global_norm(1.0), *[fo.scale(2.0)] * after)
    g = jnp.array([3.0, 4.0])
    updates, state = tx.update(g, tx.init(g))
    assert state.clip_by_global_norm.metrics["global_norm"] == 5 * 2**before
    assert fo.global_norm(updates) == pytest.approx(2**after)


def test_the_metrics_are_those_of_the_last_step():
    tx = fo.clip_by_global_norm(1.0)
    params = problem.arrays()
    state = tx.init(params)
    assert {k: float(v) for k, v in state.metrics.items()} == {"clip_factor": 0, "global_norm": 0}
    for size in (2.0, 0.5):
        grads = jax.tree.map(lambda p, size=size: jnp.full_like(p, size / 4), params)
        _, state = tx.update(grads, state)
    assert state.metrics["global_norm"] == 0.5
    assert state.metrics["clip_factor"] == 1


@pytest.mark.parametrize(
    ("shape", "axis", "over"),
    [
        ((), None, ()),
        ((3,), None, (0,)),
        ((1, 3), None, (0, 1)),
        ((2, 3), None, (0,)),
        ((2, 3, 4), None, (0,)),
        ((2, 2, 3, 4), None, (0, 1, 2)),
        ((2, 2, 2, 3, 4), None, (0, 1, 2, 3)),
        ((2, 3, 2), -1, (2,)),
        ((2,) * 6, (0, 3), (0, 3)),
    ],
)
def test_unitwise_norms_are_those_of_the_units(shape, axis, over):
    x = np.random.default_rng(0).standard_normal(shape)
    expected = np.broadcast_to(np.sqrt(np.sum(x**2, axis=over, keepdims=True)), shape)
    found = fo.unitwise_norm(x.astype(np.float32), axis)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_units_of_more_than_five_axes_must_be_named():
    with pytest.raises(
        ValueError, match=r"unitwise_norm: a parameter of shape \(2, 2, 2, 2, 2, 2\)"
    ):
        fo.unitwise_norm(jnp.ones((2,) * 6))


@pytest.mark.parametrize(
    "make", [fo.clip, fo.clip_by_global_norm, fo.clip_by_block_rms, fo.adaptive_grad_clip]
)
@pytest.mark.parametrize("number", [0.0, 3.0, 1e15, np.nan])
def test_at_infinity_nothing_is_clipped(make, number):
    """With parameters of norm 0, adaptive_grad_clip multiplies infinity by 0."""
    tx, params = make(np.inf), {"w": jnp.zeros(2), "other": jnp.zeros(2)}
    if make is fo.adaptive_grad_clip:
        tx = make(np.inf, eps=0.0)
    grads = {"w": jnp.array([number, -4.0]), "other": jnp.array([1.0, 2.0])}
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_array_equal(updates["other"], grads["other"])
    if np.isfinite(number):
        np.testing.assert_array_equal(updates["w"], grads["w"])


def test_at_infinity_the_norm_is_measured():
    tx = fo.clip_by_global_norm(1.0)
    state = fo.set_hyperparams(tx.init({"w": jnp.zeros(2)}), max_norm=np.inf, tx=tx)
    _, state = tx.update({"w": jnp.array([3.0, 4.0])}, state)
    assert (state.metrics["global_norm"], state.metrics["clip_factor"]) == (5.0, 1.0)
