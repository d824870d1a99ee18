"""Every loss equals that of optax in float64, or, where it differs, a correct value."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .cases import BITS, CALLS, CASES, CLASSES, SCORES, in_float64

ALIASES = {"convex_kl_divergence": "generalized_kl_divergence"}
each_call = pytest.mark.parametrize(
    ("name", "args", "kwargs"), CALLS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(CALLS)]
)


def test_every_loss_is_compared():
    losses = set(fo.losses.__all__) - set(ALIASES)
    assert losses == set(CASES) | {"make_fenchel_young_loss", "ctc_loss_with_forward_probs"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_signatures_equal_those_of_optax(name):
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (getattr(fo.losses, name), getattr(optax.losses, name))
    )
    assert ours == theirs


def value_and_slope(loss, x):
    """Returns the loss at `x`, and the derivative of its sum."""

    def total(x):
        value = loss(x)
        return value.sum(), value

    slope, value = jax.grad(total, has_aux=True)(x)
    return value, slope


@each_call
def test_values_and_derivatives_equal_those_of_optax(name, args, kwargs, x64):
    args, kwargs = in_float64((args, kwargs))

    # One program has both, since the losses take more time to compile op by op than together.
    @jax.jit
    def both(x):
        ours = lambda x: getattr(fo.losses, name)(x, *args[1:], **kwargs)  # noqa: E731
        theirs = lambda x: getattr(optax.losses, name)(x, *args[1:], **kwargs)  # noqa: E731
        found = value_and_slope(ours, x)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return found, value_and_slope(theirs, x)

    (value, found), (expected, slope) = jax.device_get(both(args[0]))
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
    smooth = np.isfinite(slope) & (np.abs(args[0]) > 0)  # not at kinks, where both may choose
    np.testing.assert_allclose(found[smooth], slope[smooth], rtol=1e-8, atol=1e-10)


@each_call
def test_bfloat16_is_computed_in_float32(name, args, kwargs):
    # Operation by operation, because a compiled program may leave out a rounding in between.
    narrow = jnp.asarray(args[0], jnp.bfloat16)
    loss = getattr(fo.losses, name)
    found = loss(narrow, *args[1:], **kwargs)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, loss(narrow.astype(jnp.float32), *args[1:], **kwargs))


def test_extreme_logits_stay_finite():
    x = jnp.array([1e4, -1e4, 80.0, -80.0])
    for loss in (fo.losses.sigmoid_binary_cross_entropy, fo.losses.sigmoid_focal_loss):
        for y in (0.0, 1.0):
            value, slope = jax.value_and_grad(lambda x, y=y, f=loss: f(x, y).sum())(x)
            assert jnp.isfinite(value)
            assert jnp.isfinite(slope).all()


def test_excluded_classes_count_nothing_and_have_a_derivative():
    x, y = jnp.array([0.5, 1.0, -jnp.inf]), jnp.array([0.25, 0.75, 0.0])
    loss = fo.losses.safe_softmax_cross_entropy
    np.testing.assert_allclose(loss(x, y), loss(x[:2], y[:2]))
    assert jnp.isfinite(jax.grad(loss)(x, y)[:2]).all()


def test_the_derivative_by_a_label_of_0_is_minus_the_log_of_its_probability():
    x, y = jnp.array([0.5, 1.0, -1.0]), jnp.array([0.25, 0.75, 0.0])
    found = jax.grad(fo.losses.safe_softmax_cross_entropy, 1)(x, y)
    np.testing.assert_allclose(found, np.log(np.sum(np.exp(x))) - x, rtol=1e-6)


def test_masked_classes_do_not_count():
    where = jnp.array([[True, True, False]] * 2)
    loss = fo.losses.softmax_cross_entropy_with_integer_labels
    x, labels = jnp.asarray(SCORES[:2]), jnp.array([1, 0])
    np.testing.assert_allclose(loss(x, labels, where=where), loss(x[:, :2], labels))


@pytest.mark.parametrize("dims", [1, 2])
def test_masked_examples_have_no_loss_and_no_derivative(dims):
    there = jnp.array([True, False])
    where = there if dims == 1 else jnp.array([[True, True, False], [False] * 3])
    x, classes = jnp.asarray(SCORES[:2]), jnp.array([1, 0])
    for loss, y in (
        (fo.losses.softmax_cross_entropy, jax.nn.one_hot(classes, 3)),
        (fo.losses.softmax_cross_entropy_with_integer_labels, classes),
    ):
        np.testing.assert_array_equal(loss(x, y, where=where)[1], 0)
        kept = slice(3 if dims == 1 else 2)
        alone = loss(x[:1, kept], y[:1, kept] if y.ndim == 2 else y[:1])
        np.testing.assert_allclose(loss(x, y, where=where)[:1], alone, rtol=1e-6)
        slope = jax.grad(lambda x, loss=loss, y=y: jnp.sum(loss(x, y, where=where)))(x)
        assert jnp.isfinite(slope).all()
        np.testing.assert_array_equal(slope[1], 0)


def test_the_loss_of_logsumexp_is_the_cross_entropy():
    loss = fo.losses.make_fenchel_young_loss(jax.nn.logsumexp)
    one_hot = jax.nn.one_hot(CLASSES, 3)
    expected = fo.losses.softmax_cross_entropy_with_integer_labels(SCORES, CLASSES)
    for call in (loss, jax.vmap(loss)):
        found = call(jnp.asarray(SCORES), one_hot)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda f: f.squared_error(SCORES, SCORES[:, :1]), ValueError, r"targets \(4, 1\)"),
        (lambda f: f.softmax_cross_entropy(SCORES, BITS[:, :2]), ValueError, "do not broadcast"),
        (
            lambda f: f.softmax_cross_entropy_with_integer_labels(SCORES, SCORES[:, 0]),
            TypeError,
            "labels must be integers, got float32",
        ),
        (
            lambda f: f.softmax_cross_entropy_with_integer_labels(SCORES, CLASSES[:3]),
            ValueError,
            r"labels must have shape \(4,\)",
        ),
        (lambda f: f.ntxent(SCORES, CLASSES[:2]), ValueError, r"labels \(batch,\)"),
    ],
)
def test_shapes_and_dtypes_that_do_not_fit_are_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(fo.losses)
