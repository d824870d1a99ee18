"""Projections onto the simplex: along one axis, or of a whole tree."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype
from ..core.protocol import PyTree

__all__ = ["nearest_of_simplex", "projection_simplex"]

Array = jax.Array


def nearest_of_simplex(x: Array, scale: ArrayLike = 1.0) -> Array:
    """Projects `x`, along the last axis, onto the points >= 0 whose sum is `scale`.

    It sorts the elements, and finds how many of the largest stay positive when the same number is
    subtracted from each.

    Reference: Duchi et al., Efficient projections onto the l1-ball for learning in high
    dimensions, ICML 2008, figure 1.
    """
    descending = -jnp.sort(-jax.lax.stop_gradient(x), axis=-1)
    number = jnp.arange(1, x.shape[-1] + 1).astype(x.dtype)
    excess = (jnp.cumsum(descending, axis=-1) - scale) / jnp.broadcast_to(number, x.shape)
    support = jnp.sum(descending > excess, axis=-1, keepdims=True)
    bound = jnp.take_along_axis(excess, jnp.maximum(support - 1, 0), axis=-1)
    # The sort is not differentiated: the number is computed again from the positive elements.
    positive = x > bound
    count = jnp.maximum(jnp.sum(positive, axis=-1, keepdims=True), 1).astype(x.dtype)
    excess = (jnp.sum(x, axis=-1, keepdims=True, where=positive) - scale) / count
    return jnp.where(positive, x - excess, 0.0)


def projection_simplex(tree: PyTree, scale: ArrayLike = 1) -> PyTree:
    """Projects a tree onto the trees of non-negative elements whose sum is `scale`.

    Example:
      >>> print(projection_simplex({"w": jnp.array([2.5, 3.25]), "b": jnp.array(0.5)}))
      {'b': Array(0., dtype=float32), 'w': Array([0.125, 0.875], dtype=float32)}
    """
    flat, unravel = ravel_pytree(tree)
    wide = flat.astype(compute_dtype(flat.dtype))
    scale = jnp.asarray(scale).astype(wide.dtype)
    return unravel(nearest_of_simplex(wide, scale).astype(flat.dtype))
