"""Norms of trees that neither overflow nor lose digits."""

from typing import Any

import jax
import jax.numpy as jnp

from .numbers import as_state
from .precision import compute_dtype, safe_sqrt
from .protocol import PyTree

__all__ = ["combine_norms", "global_norm", "leaf_norm"]

Array = jax.Array


def leaf_norm(x: Array) -> Array:
    """Euclidean norm of an array, in its precision.

    The sum of squares is taken as it is, in one pass; only where it overflows or comes near
    to vanishing, once more, in units of the largest magnitude.
    """
    magnitude = jnp.abs(x)
    total = jnp.sum(jnp.square(magnitude))
    limits = jnp.finfo(total.dtype)
    sound = (total > limits.tiny / limits.eps**2) & (total < limits.max)
    return jax.lax.cond(sound, lambda _, t: safe_sqrt(t), lambda m, _: _scaled(m), magnitude, total)


def _scaled(magnitude: Array) -> Array:
    return _euclid(magnitude, jnp.max(magnitude, initial=0.0))


def _euclid(magnitude: Array, top: Array) -> Array:
    """Norm of magnitudes of which `top` is the largest."""
    unit = jnp.where((top > 0) & jnp.isfinite(top), top, jnp.ones_like(top))
    norm = unit * safe_sqrt(jnp.sum(jnp.square(magnitude / unit)))
    return jnp.where(jnp.isfinite(top), norm, top)


def combine_norms(norms: Array | None) -> Array:
    """Euclidean norm over leaves, out of their norms `(n,)`; 0 without leaves."""
    return as_state(0.0) if norms is None else _scaled(norms)


def global_norm(tree: PyTree) -> Array:
    """Euclidean norm of all arrays of a tree taken together, computed in at least float32.

    Args:
      tree: arrays of any dtypes; None and empty nodes count nothing.

    Returns:
      Scalar `()`. Infinite or NaN only where the tree is, or its norm exceeds float32.

    Example:
      >>> float(global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}))
      5.0
    """
    norms = [as_state(leaf_norm(_wide(x))) for x in jax.tree.leaves(tree)]
    return combine_norms(jnp.stack(norms) if norms else None)


def _wide(x: Any) -> Array:
    x = jnp.asarray(x)
    floating = jnp.issubdtype(x.dtype, jnp.inexact)
    return x.astype(compute_dtype(x.dtype if floating else jnp.float32))
