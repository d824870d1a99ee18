"""Prepares the arguments of losses: casts arrays to one dtype, and checks their shapes."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype, wider

__all__ = ["Axis", "as_floats", "broadcast", "same_shape", "select_label", "valid_classes"]

Array = jax.Array
Axis = int | tuple[int, ...] | None


def as_floats(*arrays: ArrayLike) -> list[Array]:
    """Casts arrays to the widest of their dtypes, at least float32; integers follow the others."""
    converted = [jnp.asarray(x) for x in arrays]
    floating = [x.dtype for x in converted if jnp.issubdtype(x.dtype, jnp.inexact)]
    dtype = compute_dtype(functools.reduce(wider, floating)) if floating else jnp.float32
    return [x.astype(dtype) for x in converted]


def same_shape(name: str, **arrays: ArrayLike) -> list[Array]:
    """Casts arrays to floats, and checks that they have one shape.

    `(n,)` and `(n, 1)` would broadcast to `(n, n)`, and the loss would compare all pairs.

    Raises:
      ValueError: the shapes differ.
    """
    floats = as_floats(*arrays.values())
    shapes = [x.shape for x in floats]
    if len(set(shapes)) > 1:
        listed = ", ".join(f"{k} {shape}" for k, shape in zip(arrays, shapes, strict=True))
        raise ValueError(f"{name}: arrays must have one shape, got {listed}. Reshape one of them.")
    return floats


def broadcast(name: str, **arrays: ArrayLike) -> list[Array]:
    """Casts arrays to floats, and broadcasts them to one shape.

    Raises:
      ValueError: the shapes do not broadcast.
    """
    floats = as_floats(*arrays.values())
    try:
        shape = jnp.broadcast_shapes(*(x.shape for x in floats))
    except ValueError:
        listed = ", ".join(f"{k} {x.shape}" for k, x in zip(arrays, floats, strict=True))
        raise ValueError(f"{name}: shapes do not broadcast: {listed}.") from None
    return [jnp.broadcast_to(x, shape) for x in floats]


def valid_classes(where: ArrayLike, x: Array, axis: Axis) -> tuple[Array, Array]:
    """Returns the mask of valid classes, shaped as the scores, and the mask of valid examples.

    An example without a valid class gets all classes: its loss is masked out later, and must be
    finite until then, or derivatives would be NaN.
    """
    valid = jnp.asarray(where)
    if axis is not None and valid.ndim != x.ndim:
        valid = jnp.expand_dims(valid, axis)
    valid = jnp.broadcast_to(valid, x.shape)
    has_class = jnp.any(valid, axis, keepdims=True)
    return valid | ~has_class, jnp.squeeze(has_class, axis)


def select_label(name: str, scores: Array, labels: ArrayLike) -> Array:
    """Selects the score of each example's label.

    Args:
      scores: `(..., classes)`.
      labels: integers `(...)`.

    Raises:
      TypeError: labels are not integers.
      ValueError: labels do not have the shape of the scores without the last axis.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{name}: labels must be integers, got {labels.dtype}. Pass the number of the class."
        )
    if labels.shape != scores.shape[:-1]:
        raise ValueError(
            f"{name}: labels must have shape {scores.shape[:-1]}, as the scores without the axis "
            f"of classes, got {labels.shape}."
        )
    return jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
