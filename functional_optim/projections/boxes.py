"""Projections onto sets that bound each element."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree

__all__ = ["projection_box", "projection_hypercube", "projection_non_negative"]


def projection_box(tree: PyTree, lower: PyTree, upper: PyTree) -> PyTree:
    """Bounds each element from below and above.

    Args:
      lower: a number, or a tree of arrays like `tree`.
      upper: a number, or a tree of arrays like `tree`.

    Example:
      >>> projection_box({"w": jnp.array([-2.0, 0.5])}, -1.0, 1.0)
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    return jax.tree.map(_clip, tree, _per_leaf(lower, tree), _per_leaf(upper, tree))


def _per_leaf(bound: PyTree, tree: PyTree) -> PyTree:
    """Returns a tree of bounds; a single bound is repeated for each leaf."""
    is_single = jax.tree_util.all_leaves([bound]) and not jax.tree_util.all_leaves([tree])
    return jax.tree.map(lambda _: bound, tree) if is_single else bound


def _clip(x: ArrayLike, low: ArrayLike, high: ArrayLike) -> jax.Array:
    x = jnp.asarray(x)
    return jnp.clip(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype))


def projection_hypercube(tree: PyTree, scale: ArrayLike = 1) -> PyTree:
    """Bounds each element to [0, scale]; see `projection_box`.

    Example:
      >>> projection_hypercube({"w": jnp.array([-2.0, 0.5, 3.0])})
      {'w': Array([0. , 0.5, 1. ], dtype=float32)}
    """
    return projection_box(tree, 0, scale)


def projection_non_negative(tree: PyTree) -> PyTree:
    """Sets negative elements to 0.

    Example:
      >>> projection_non_negative({"w": jnp.array([-2.0, 0.5])})
      {'w': Array([0. , 0.5], dtype=float32)}
    """
    return jax.tree.map(jax.nn.relu, tree)
