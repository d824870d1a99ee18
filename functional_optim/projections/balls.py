"""Projections onto balls and spheres around 0."""

from typing import Any

import jax
import jax.numpy as jnp

from ..tree import norm
from ..tree import scale as times
from .boxes import projection_box
from .simplex import projection_simplex

__all__ = [
    "projection_l1_ball",
    "projection_l1_sphere",
    "projection_l2_ball",
    "projection_l2_sphere",
    "projection_linf_ball",
]

PyTree = Any


def projection_l1_sphere(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those whose absolute values sum to `scale`.

    Example:
      >>> projection_l1_sphere({"w": jnp.array([-2.0, 1.5])})
      {'w': Array([-0.75,  0.25], dtype=float32)}
    """
    sizes = projection_simplex(jax.tree.map(jnp.abs, tree), scale)
    return jax.tree.map(lambda x, size: jnp.sign(x) * size, tree, sizes)


def projection_l1_ball(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those whose absolute values sum to at most `scale`.

    Example:
      >>> projection_l1_ball({"w": jnp.array([-0.5, 0.25])})
      {'w': Array([-0.5 ,  0.25], dtype=float32)}
    """
    outside = projection_l1_sphere(tree, scale)
    inside = norm(tree, ord=1) <= scale
    return jax.tree.map(lambda x, y: jnp.where(inside, x, y), tree, outside)


def projection_l2_sphere(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those of Euclidean norm `scale`; NaN for zeros, equally near to all.

    Example:
      >>> print(projection_l2_sphere({"w": jnp.array([3.0, 4.0])}, 10.0)["w"])
      [6. 8.]
    """
    return times(scale / norm(tree), tree)


def projection_l2_ball(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those of Euclidean norm at most `scale`.

    Example:
      >>> print(projection_l2_ball({"w": jnp.array([3.0, 4.0])}, 10.0)["w"])
      [3. 4.]
    """
    return times(scale / jnp.maximum(norm(tree), scale), tree)


def projection_linf_ball(tree: PyTree, scale: Any = 1) -> PyTree:
    """Projects a tree onto those whose elements are in [-scale, scale].

    Example:
      >>> projection_linf_ball({"w": jnp.array([-3.0, 0.5])})
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    return projection_box(tree, -scale, scale)
