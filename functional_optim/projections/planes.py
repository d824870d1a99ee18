"""Projections onto sets that one linear equation describes."""

from typing import Any

import jax.numpy as jnp

from ..tree import add_scale, cast_like, scale, vdot

__all__ = ["projection_halfspace", "projection_hyperplane", "projection_vector"]

PyTree = Any


def projection_vector(x: PyTree, a: PyTree) -> PyTree:
    """Projects `x` onto the multiples of `a`: a <x, a> / <a, a>.

    Example:
      >>> projection_vector({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([2.0, 0.0])})
      {'w': Array([3., 0.], dtype=float32)}
    """
    return cast_like(scale(vdot(x, a) / vdot(a, a), a), x)


def projection_hyperplane(x: PyTree, a: PyTree, b: Any) -> PyTree:
    """Projects a tree onto the y with <a, y> = b.

    Example:
      >>> projection_hyperplane({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 2.0)
      {'w': Array([1., 4.], dtype=float32)}
    """
    return add_scale(x, (b - vdot(a, x)) / vdot(a, a), a)


def projection_halfspace(x: PyTree, a: PyTree, b: Any) -> PyTree:
    """Projects a tree onto the y with <a, y> <= b.

    Example:
      >>> a = {"w": jnp.array([2.0, 0.0])}
      >>> projection_halfspace({"w": jnp.array([3.0, 4.0])}, a, 2.0)
      {'w': Array([1., 4.], dtype=float32)}
      >>> projection_halfspace({"w": jnp.array([0.5, 4.0])}, a, 2.0)
      {'w': Array([0.5, 4. ], dtype=float32)}
    """
    return add_scale(x, jnp.minimum(b - vdot(a, x), 0.0) / vdot(a, a), a)
