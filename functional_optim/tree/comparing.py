"""Comparison of trees within tolerances."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from .reductions import widen

__all__ = ["allclose"]

Array = jax.Array


def allclose(
    a: PyTree, b: PyTree, rtol: ArrayLike = 1e-5, atol: ArrayLike = 1e-8, equal_nan: bool = False
) -> Array:
    """Tells whether all elements satisfy |a - b| <= atol + rtol |b|.

    Returns:
      Boolean scalar `()`; True for trees without arrays.

    Example:
      >>> bool(allclose({"a": jnp.array(1.0)}, {"a": jnp.array(1.000001)}))
      True
    """

    def leaf(x: ArrayLike, y: ArrayLike) -> Array:
        return jnp.allclose(widen(x), widen(y), rtol=rtol, atol=atol, equal_nan=equal_nan)

    close = jax.tree.leaves(jax.tree.map(leaf, a, b))
    return jnp.stack(close).all() if close else jnp.array(True)
