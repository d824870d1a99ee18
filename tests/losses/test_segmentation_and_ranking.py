"""Losses of regions and of lists: formulas in NumPy, and where they differ from optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .cases import MAPS, POSITIVE, REGIONS, SCORES


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_dice_loss_is_the_overlap_of_regions(x64):
    p, t = softmax(MAPS), REGIONS
    expected = np.empty((2, 3))
    for b in range(2):
        for c in range(3):
            both = (p[b, ..., c] * t[b, ..., c]).sum()
            false, missed = (p[b, ..., c] * (1 - t[b, ..., c])).sum(), t[b, ..., c].sum() - both
            expected[b, c] = 1 - (both + 0.1) / (both + 0.3 * false + 0.7 * missed + 0.1)
    numbers = {"alpha": 0.3, "beta": 0.7, "smooth": 0.1}
    found = fo.losses.dice_loss(MAPS, REGIONS, reduction="none", **numbers)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    weights = 1 / (t.sum((0, 1, 2)) ** 2 + 1e-7)
    expected = np.mean(
        np.asarray(fo.losses.dice_loss(MAPS, REGIONS, reduction="none")) * weights / weights.mean()
    )
    found = fo.losses.multiclass_generalized_dice_loss(MAPS, REGIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_probabilities_are_checked_where_values_are_known():
    p = softmax(MAPS).astype(np.float32)
    loss = fo.losses.dice_loss
    np.testing.assert_allclose(loss(p, REGIONS, apply_softmax=False), loss(MAPS, REGIONS), 1e-5)
    jitted = jax.jit(lambda p: loss(p, REGIONS, apply_softmax=False))
    np.testing.assert_allclose(jitted(p), loss(MAPS, REGIONS), 1e-5)
    with pytest.raises(ValueError, match=r"must be valid probability distributions, .* sums in"):
        loss(2 * p, REGIONS, apply_softmax=False)


def test_probabilities_of_one_class_need_not_be_1():
    x, t = MAPS[..., 0], REGIONS[..., 0]
    found = fo.losses.binary_dice_loss(jax.nn.sigmoid(x), t, apply_sigmoid=False)
    np.testing.assert_allclose(found, fo.losses.binary_dice_loss(x, t), 1e-6)


def test_empty_and_absent_regions_have_finite_losses_and_derivatives():
    none = np.zeros_like(REGIONS)
    for x in (MAPS, 1e4 * MAPS, -1e4 * np.ones_like(MAPS)):
        for f in (fo.losses.dice_loss, fo.losses.multiclass_generalized_dice_loss):
            value, slope = jax.value_and_grad(lambda x, f=f: f(x, none).sum())(jnp.asarray(x))
            assert jnp.isfinite(value)
            assert jnp.isfinite(slope).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: f.dice_loss(MAPS, REGIONS[:, :2]), r"predictions \(2, 3, 4, 3\) and targets"),
        (lambda f: f.dice_loss(MAPS, REGIONS, reduction="max"), "'none', got 'max'"),
        (lambda f: f.dice_loss(MAPS, REGIONS, class_weights=np.ones(2)), r"got \(2,\)"),
        (lambda f: f.ranking_softmax_loss(SCORES, np.ones(2)), "shapes do not broadcast"),
    ],
)
def test_arguments_that_do_not_go_together_are_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call(fo.losses)


def test_a_ranking_is_the_cross_entropy_of_its_valid_items(x64):
    where = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]], bool)
    weights = np.array([[1.0, 2.0, 3.0]] * 4)
    expected = []
    for x, y, w, there in zip(SCORES, POSITIVE, weights, where, strict=True):
        log_p = np.log(softmax(x[there])) if there.any() else np.empty(0)
        expected.append(-np.sum(w[there] * y[there] * log_p))
    loss = fo.losses.ranking_softmax_loss
    found = loss(SCORES, POSITIVE, where=where, weights=weights, reduce_fn=None)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    mean = loss(SCORES, POSITIVE, where=where, weights=weights)
    np.testing.assert_allclose(mean, np.sum(expected) / 3, rtol=1e-12)


def test_a_list_without_valid_items_has_no_loss_and_a_derivative():
    none = np.zeros_like(SCORES, bool)
    for reduce_fn in (jnp.mean, jnp.sum):
        value, slope = jax.value_and_grad(
            lambda x, f=reduce_fn: fo.losses.ranking_softmax_loss(
                x, POSITIVE, where=none, reduce_fn=f
            )
        )(jnp.asarray(SCORES, jnp.float32))
        assert value == 0
        assert (slope == 0).all()
