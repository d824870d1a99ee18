"""Projections onto sets that bound each element."""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["projection_box", "projection_hypercube", "projection_non_negative"]

PyTree = Any


def projection_box(tree: PyTree, lower: Any, upper: Any) -> PyTree:
    """Bounds each element from below and above.

    Args:
      lower: a number, or a tree of arrays like `tree`.
      upper: the same.

    Example:
      >>> projection_box({"w": jnp.array([-2.0, 0.5])}, -1.0, 1.0)
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    return jax.tree.map(_clip, tree, _spread(lower, tree), _spread(upper, tree))


def _spread(bound: Any, tree: PyTree) -> PyTree:
    one = jax.tree_util.all_leaves([bound]) and not jax.tree_util.all_leaves([tree])
    return jax.tree.map(lambda _: bound, tree) if one else bound


def _clip(x: Any, low: Any, high: Any) -> jax.Array:
    x = jnp.asarray(x)
    return jnp.clip(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype))


def projection_hypercube(tree: PyTree, scale: Any = 1) -> PyTree:
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
