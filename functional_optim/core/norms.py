"""Norms of trees that neither overflow nor lose digits."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .numbers import as_state
from .precision import compute_dtype, safe_sqrt
from .protocol import PyTree

__all__ = ["combine_norms", "global_norm", "scaled_squares"]

Array = jax.Array


def scaled_squares(x: Array) -> dict[str, Array]:
    """Largest magnitude of an array, and the sum of squares in units of it.

    Squares of 1e20 overflow float32 and squares of 1e-23 vanish; those of x / max|x| do
    neither.
    """
    magnitude = jnp.abs(x)
    top = jnp.max(magnitude, initial=0.0)
    return {"top": top, "squares": jnp.sum(jnp.square(magnitude / _unit(top)))}


def combine_norms(stats: Mapping[str, Array] | None) -> Array:
    """Euclidean norm over leaves, out of their `scaled_squares` stacked to `(n,)`."""
    if stats is None:
        return as_state(0.0)
    top = jnp.max(stats["top"])
    ratio = stats["top"] / _unit(top)
    norm = _unit(top) * safe_sqrt(jnp.sum(stats["squares"] * jnp.square(ratio)))
    return jnp.where(jnp.isfinite(top), norm, top)


def _unit(top: Array) -> Array:
    """What to divide by: the largest magnitude, unless it is 0 or not finite."""
    return jnp.where((top > 0) & jnp.isfinite(top), top, jnp.ones_like(top))


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
    found = [
        {k: as_state(v) for k, v in scaled_squares(_wide(x)).items()} for x in jax.tree.leaves(tree)
    ]
    return combine_norms(jax.tree.map(lambda *xs: jnp.stack(xs), *found) if found else None)


def _wide(x: Any) -> Array:
    x = jnp.asarray(x)
    floating = jnp.issubdtype(x.dtype, jnp.inexact)
    return x.astype(compute_dtype(x.dtype if floating else jnp.float32))
