"""Cross entropies of labels and logits, and losses that are built on them."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.validation import check_number
from .inputs import Axis, as_floats, broadcast, select_label, valid_classes

__all__ = [
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
]

Array = jax.Array


def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Computes the cross entropy of probabilities `labels` under sigmoid(logits), elementwise.

    Args:
      logits: real numbers of any shape.
      labels: in [0, 1], broadcast with logits.

    Example:
      >>> print(sigmoid_binary_cross_entropy(jnp.array([0.0, 100.0]), jnp.array([1, 0])).round(4))
      [  0.6931 100.    ]
    """
    x, y = broadcast("sigmoid_binary_cross_entropy", logits=logits, labels=labels)
    return -y * jax.nn.log_sigmoid(x) - (1.0 - y) * jax.nn.log_sigmoid(-x)


def softmax_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Computes the cross entropy of distributions `labels` under softmax(logits), by example.

    Args:
      logits: `(..., classes)`.
      labels: distributions over the classes, not negative and of sum 1; broadcast with logits.
      axis: axis of the classes.
      where: mask of valid classes; or, without their axis, of valid examples. An example
        without a valid class has the loss 0.

    Returns:
      `(...)`; NaN where a logit is -inf and its label 0: see `safe_softmax_cross_entropy`.

    Example:
      >>> print(softmax_cross_entropy(jnp.zeros((2, 4)), jnp.eye(2, 4)).round(4))
      [1.3863 1.3863]
    """
    x, y = broadcast("softmax_cross_entropy", logits=logits, labels=labels)
    if where is None:
        return -jnp.sum(y * jax.nn.log_softmax(x, axis), axis)
    valid, has_class = valid_classes(where, x, axis)
    log_p = jax.nn.log_softmax(x, axis, where=valid)
    return jnp.where(has_class, -jnp.sum(y * log_p, axis, where=valid), 0.0)


def safe_softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Computes `softmax_cross_entropy` over the last axis, where a label of 0 adds nothing.

    A label of 0 adds nothing even where a logit of -inf excludes its class: 0 log 0 = 0.

    Example:
      >>> x, y = jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0])
      >>> float(safe_softmax_cross_entropy(x, y)), float(softmax_cross_entropy(x, y))
      (-0.0, nan)
    """
    x, y = broadcast("safe_softmax_cross_entropy", logits=logits, labels=labels)
    log_p = jax.nn.log_softmax(x)
    # Finite terms are not masked, so that the derivative by a label of 0 is -log p.
    valid = (y != 0) | jnp.isfinite(log_p)
    return -jnp.sum(jnp.where(valid, y * jnp.where(valid, log_p, 0.0), 0.0), axis=-1)


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int | tuple[int, ...] = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Computes the cross entropy of the true classes under softmax(logits), by example.

    It is faster than `softmax_cross_entropy` with one-hot labels, because it does not build them.

    Args:
      logits: `(..., classes)`.
      labels: `(...)`, integers in [0, classes). A number outside gives NaN.
      axis: axis of the classes; if there are several, a label is the index into the flattened axes.
      where: as in `softmax_cross_entropy`.

    Raises:
      TypeError: labels are not integers.
      ValueError: labels have another shape.

    Example:
      >>> x = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]]))
      >>> jnp.exp(-softmax_cross_entropy_with_integer_labels(x, jnp.array([0, 1]))).tolist()
      [0.75, 0.5]
    """
    (x,) = as_floats(logits)
    scores = _classes_last(x, axis)
    label = select_label("softmax_cross_entropy_with_integer_labels", scores, labels)
    if where is None:
        return jax.nn.logsumexp(scores, -1) - label
    valid, has_class = valid_classes(where, x, axis)
    normalizer = jax.nn.logsumexp(scores, -1, where=_classes_last(valid, axis))
    return jnp.where(has_class, normalizer - label, 0.0)


def _classes_last(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Moves the axes of classes to the end, and merges them."""
    axes = (axis,) if isinstance(axis, int) else axis
    x = jnp.moveaxis(x, axes, range(-len(axes), 0))
    return jnp.reshape(x, (*x.shape[: x.ndim - len(axes)], -1))


def poly_loss_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike = 2.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Computes `softmax_cross_entropy` plus epsilon (1 - P), P the true label's probability.

    Args:
      epsilon: `()`, weight of 1 - P; the paper has 2 for ImageNet and -1 for detection.
      See `softmax_cross_entropy` for the others.

    Example:
      >>> print(poly_loss_cross_entropy(jnp.zeros(2), jnp.array([1.0, 0.0])).round(4))
      1.6931

    Reference: Leng et al., PolyLoss, ICLR 2022, equation 6, arXiv:2204.12511.
    """
    x, y = broadcast("poly_loss_cross_entropy", logits=logits, labels=labels)
    p = jnp.sum(y * jax.nn.softmax(x, axis, where=where), axis, where=where)
    (weight,) = as_floats(epsilon)
    cross_entropy = softmax_cross_entropy(x, y, axis, where)
    return cross_entropy + weight.astype(x.dtype) * (1.0 - p)


def sigmoid_focal_loss(
    logits: ArrayLike, labels: ArrayLike, *, alpha: ArrayLike | None = None, gamma: ArrayLike = 2.0
) -> Array:
    """Computes `sigmoid_binary_cross_entropy` with less weight on well-classified examples.

        weight (1 - P)^gamma cross_entropy,    P = sigmoid(x) y + (1 - sigmoid(x)) (1 - y)

    Args:
      logits: real numbers x of any shape.
      labels: y in [0, 1], broadcast with logits.
      alpha: weight of y = 1, in (0, 1), with 1 - alpha for y = 0; None for weights of 1.
      gamma: exponent; 0 gives the cross entropy.

    Example:
      >>> print(sigmoid_focal_loss(jnp.array([0.0, 4.0]), jnp.array([1, 1])).round(6))
      [1.73287e-01 6.00000e-06]

    Reference: Lin et al., Focal loss for dense object detection, ICCV 2017, equations 4 and 5,
    arXiv:1708.02002.
    """
    x, y = broadcast("sigmoid_focal_loss", logits=logits, labels=labels)
    cross_entropy = sigmoid_binary_cross_entropy(x, y)
    # 1 - P cancels where P is near 1; the sum of these two logarithms keeps its digits.
    log_wrong = jnp.logaddexp(
        jnp.where(y > 0, jnp.log(jnp.where(y > 0, y, 1.0)), -jnp.inf) + jax.nn.log_sigmoid(-x),
        jnp.where(y < 1, jnp.log(jnp.where(y < 1, 1.0 - y, 1.0)), -jnp.inf) + jax.nn.log_sigmoid(x),
    )
    (power,) = as_floats(gamma)
    loss = jnp.exp(power.astype(x.dtype) * log_wrong) * cross_entropy
    if alpha is None:
        return loss
    weight = as_floats(alpha)[0].astype(x.dtype)
    return (weight * y + (1.0 - weight) * (1.0 - y)) * loss


def smooth_labels(
    labels: ArrayLike, alpha: ArrayLike, *, axis: Axis = -1, where: ArrayLike | None = None
) -> Array:
    """Mixes labels with the uniform distribution: (1 - alpha) labels + alpha / classes.

    Args:
      labels: distributions `(..., classes)`.
      alpha: `()`, in [0, 1].
      axis: axis of the classes.
      where: mask of valid classes.

    Raises:
      ValueError: alpha is a number outside [0, 1].

    Example:
      >>> smooth_labels(jnp.array([1.0, 0.0]), 0.5).tolist()
      [0.75, 0.25]

    Reference: Müller, Kornblith & Hinton, When does label smoothing help?, NeurIPS 2019,
    arXiv:1906.02629.
    """
    check_number(alpha, "smooth_labels: alpha", "[0, 1]")
    (y,) = as_floats(labels)
    share = as_floats(alpha)[0].astype(y.dtype)
    classes = jnp.sum(jnp.ones_like(y), axis, keepdims=True, where=where)
    return (1.0 - share) * y + share / classes
