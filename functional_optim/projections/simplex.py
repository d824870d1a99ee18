"""Projection onto the simplex, along one axis or of a whole tree."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..core.numerics.precision import compute_dtype

__all__ = ["nearest_of_simplex", "projection_simplex"]

Array = jax.Array
PyTree = Any


def nearest_of_simplex(x: Array, scale: Any = 1.0) -> Array:
    """Projects `x`, along the last axis, onto the points >= 0 whose sum is `scale`.

    Sorts, and finds how many of the largest elements stay above 0 when one number is taken
    from each.

    Reference: Duchi et al., Efficient projections onto the l1-ball for learning in high
    dimensions, ICML 2008, figure 1.
    """
    descending = -jnp.sort(-jax.lax.stop_gradient(x), axis=-1)
    number = jnp.arange(1, x.shape[-1] + 1).astype(x.dtype)
    excess = (jnp.cumsum(descending, axis=-1) - scale) / jnp.broadcast_to(number, x.shape)
    support = jnp.sum(descending > excess, axis=-1, keepdims=True)
    bound = jnp.take_along_axis(excess, jnp.maximum(support - 1, 0), axis=-1)
    # Once more over what stays, as a sum with a derivative.
    stays = x > bound
    count = jnp.maximum(jnp.sum(stays, axis=-1, keepdims=True), 1).astype(x.dtype)
    excess = (jnp.sum(x, axis=-1, keepdims=True, where=stays) - scale) / count
    return jnp.where(stays, x - excess, 0.0)


def projection_simplex(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those without negative elements whose sum is `scale`.

    Example:
      >>> print(projection_simplex({"w": jnp.array([2.5, 3.25]), "b": jnp.array(0.5)}))
      {'b': Array(0., dtype=float32), 'w': Array([0.125, 0.875], dtype=float32)}
    """
    flat, unravel = ravel_pytree(tree)
    wide = flat.astype(compute_dtype(flat.dtype))
    scale = jnp.asarray(scale).astype(wide.dtype)
    return unravel(nearest_of_simplex(wide, scale).astype(flat.dtype))
