"""Distances between predictions and real numbers."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import safe_sqrt
from .inputs import Axis, as_floats, same_shape

__all__ = [
    "cosine_distance",
    "cosine_similarity",
    "huber_loss",
    "l2_loss",
    "log_cosh",
    "squared_error",
]

Array = jax.Array


def _errors(name: str, predictions: ArrayLike, targets: ArrayLike | None) -> Array:
    if targets is None:
        return as_floats(predictions)[0]
    a, b = same_shape(name, predictions=predictions, targets=targets)
    return a - b


def squared_error(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Computes squares of predictions minus targets, elementwise.

    Args:
      predictions: numbers of any shape.
      targets: numbers of the same shape; None for zeros.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> squared_error(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])).tolist()
      [1.0, 4.0]
    """
    return jnp.square(_errors("squared_error", predictions, targets))


def l2_loss(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Computes half the squared errors, whose derivatives are the errors; see `squared_error`.

    Example:
      >>> l2_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])).tolist()
      [0.5, 2.0]
    """
    return 0.5 * jnp.square(_errors("l2_loss", predictions, targets))


def huber_loss(
    predictions: ArrayLike, targets: ArrayLike | None = None, *, delta: ArrayLike = 1.0
) -> Array:
    """Computes squares of errors up to `delta`, and continues linearly, elementwise.

        0.5 e^2                  for |e| <= delta,    e = predictions - targets
        delta (|e| - 0.5 delta)  otherwise

    `delta` `()` is in units of e.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> huber_loss(jnp.array([0.5, 3.0])).tolist()
      [0.125, 2.5]

    Reference: Huber, Robust estimation of a location parameter, Annals of Mathematical
    Statistics, 1964.
    """
    size = jnp.abs(_errors("huber_loss", predictions, targets))
    (bound,) = as_floats(delta)
    # Within the bound `near` is |e|, and beyond it is delta: one product covers both cases.
    near = jnp.minimum(size, bound.astype(size.dtype))
    return near * (size - 0.5 * near)


def log_cosh(predictions: ArrayLike, targets: ArrayLike | None = None) -> Array:
    """Computes log(cosh(errors)), elementwise; large errors stay finite.

    It is about e^2 / 2 near 0, and |e| - log 2 far from it.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> print(log_cosh(jnp.array([0.0, 1000.0])).round())
      [  0. 999.]
    """
    # exp(-2 |e|) does not overflow, as cosh does.
    size = jnp.abs(_errors("log_cosh", predictions, targets))
    return size + jnp.log1p(jnp.exp(-2.0 * size)) - jnp.log(2.0).astype(size.dtype)


def cosine_similarity(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Computes the cosine of the angle between vectors, in [-1, 1].

    Args:
      predictions: vectors `(..., dim)`.
      targets: vectors of the same shape.
      epsilon: least squared norm by which a vector is divided; with 0, a vector of zeros gives
        NaN.
      axis: the axis of the vectors.
      where: mask of the elements that count.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 4.0])
      >>> float(cosine_similarity(x, -x)), float(cosine_similarity(x, y))
      (-1.0, 0.0)
    """
    a, b = same_shape("cosine_similarity", predictions=predictions, targets=targets)
    return jnp.sum(
        _unit(a, epsilon, axis, where) * _unit(b, epsilon, axis, where), axis, where=where
    )


def _unit(x: Array, epsilon: ArrayLike, axis: Axis, where: ArrayLike | None) -> Array:
    squared = jnp.sum(jnp.square(x), axis, keepdims=True, where=where)
    least = as_floats(epsilon)[0].astype(x.dtype)
    return x / safe_sqrt(jnp.maximum(squared, least))


def cosine_distance(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    epsilon: ArrayLike = 0.0,
    axis: Axis = -1,
    where: ArrayLike | None = None,
) -> Array:
    """Computes one minus `cosine_similarity`, in [0, 2].

    Args:
      See `cosine_similarity`.

    Example:
      >>> float(cosine_distance(jnp.array([1.0, 0.0]), jnp.array([0.0, 4.0])))
      1.0
    """
    return 1.0 - cosine_similarity(predictions, targets, epsilon=epsilon, axis=axis, where=where)
