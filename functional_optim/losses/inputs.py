"""What a loss is given: arrays of one dtype, whose shapes go together."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ..core.numerics.precision import compute_dtype, wider

__all__ = ["Axis", "as_floats", "broadcast", "present", "same_shape", "select_label"]

Array = jax.Array
Axis = int | tuple[int, ...] | None


def as_floats(*arrays: Any) -> list[Array]:
    """Arrays in the widest of their dtypes, at least float32; integers follow the others."""
    given = [jnp.asarray(x) for x in arrays]
    floating = [x.dtype for x in given if jnp.issubdtype(x.dtype, jnp.inexact)]
    dtype = compute_dtype(functools.reduce(wider, floating)) if floating else jnp.float32
    return [x.astype(dtype) for x in given]


def same_shape(name: str, **arrays: Any) -> list[Array]:
    """Arrays as floats, of which all have one shape.

    `(n,)` beside `(n, 1)` would broadcast to `(n, n)`, and the loss be of pairs.

    Raises:
      ValueError: the shapes differ.
    """
    floats = as_floats(*arrays.values())
    shapes = [x.shape for x in floats]
    if len(set(shapes)) > 1:
        found = ", ".join(f"{k} {shape}" for k, shape in zip(arrays, shapes, strict=True))
        raise ValueError(f"{name}: arrays must have one shape, got {found}. Reshape one of them.")
    return floats


def broadcast(name: str, **arrays: Any) -> list[Array]:
    """Arrays as floats, broadcast to one shape.

    Raises:
      ValueError: the shapes do not broadcast.
    """
    floats = as_floats(*arrays.values())
    try:
        shape = jnp.broadcast_shapes(*(x.shape for x in floats))
    except ValueError:
        found = ", ".join(f"{k} {x.shape}" for k, x in zip(arrays, floats, strict=True))
        raise ValueError(f"{name}: shapes do not broadcast: {found}.") from None
    return [jnp.broadcast_to(x, shape) for x in floats]


def present(where: Any, x: Array, axis: Axis) -> tuple[Array, Array]:
    """Returns which classes exist, shaped as the scores, and which examples have any.

    Those that have none get all, so that what is computed for them, and left out, is finite.
    """
    there = jnp.asarray(where)
    if axis is not None and there.ndim != x.ndim:
        there = jnp.expand_dims(there, axis)
    there = jnp.broadcast_to(there, x.shape)
    counts = jnp.any(there, axis, keepdims=True)
    return there | ~counts, jnp.squeeze(counts, axis)


def select_label(name: str, scores: Array, labels: Any) -> Array:
    """Selects the score of each example's label.

    Args:
      scores: `(..., classes)`.
      labels: integers `(...)`.

    Raises:
      TypeError: labels are not integers.
      ValueError: their shape is another.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{name}: labels must be integers, got {labels.dtype}. Pass the number of the class."
        )
    if labels.shape != scores.shape[:-1]:
        raise ValueError(
            f"{name}: labels must have shape {scores.shape[:-1]}, that of the scores without the "
            f"classes, got {labels.shape}."
        )
    return jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
