"""Elementwise arithmetic of trees of one structure."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

from ..core.numerics.precision import wider

__all__ = ["add", "add_scale", "clip", "conj", "div", "mul", "real", "scale", "sub", "where"]

Array = jax.Array
PyTree = Any


def add(tree_x: PyTree, tree_y: PyTree, *other_trees: PyTree) -> PyTree:
    """Adds two or more trees.

    Example:
      >>> add({"a": 1.0}, {"a": 2.0}, {"a": 3.0})
      {'a': 6.0}
    """
    return jax.tree.map(
        lambda *xs: functools.reduce(operator.add, xs), tree_x, tree_y, *other_trees
    )


def sub(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """Subtracts the second tree from the first.

    Example:
      >>> sub({"a": 1.0}, {"a": 2.0})
      {'a': -1.0}
    """
    return jax.tree.map(operator.sub, tree_x, tree_y)


def mul(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """Multiplies two trees, element by element.

    Example:
      >>> mul({"a": 3.0}, {"a": 2.0})
      {'a': 6.0}
    """
    return jax.tree.map(operator.mul, tree_x, tree_y)


def div(tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """Divides the first tree by the second, element by element.

    Example:
      >>> div({"a": 3.0}, {"a": 2.0})
      {'a': 1.5}
    """
    return jax.tree.map(operator.truediv, tree_x, tree_y)


def scale(scalar: Any, tree: PyTree) -> PyTree:
    """Multiplies a tree by a number `()`; every leaf keeps its dtype.

    Example:
      >>> scale(2.0, {"a": jnp.array([1.0, 3.0])})
      {'a': Array([2., 6.], dtype=float32)}
    """
    return jax.tree.map(functools.partial(_times, scalar), tree)


def add_scale(tree_x: PyTree, scalar: Any, tree_y: PyTree) -> PyTree:
    """Computes tree_x + scalar tree_y; every leaf keeps the dtype of tree_x's.

    Where tree_x has None, the result has None, whatever tree_y has there.

    Example:
      >>> add_scale({"a": jnp.array([1.0])}, -2.0, {"a": jnp.array([3.0])})
      {'a': Array([-5.], dtype=float32)}
    """

    def leaf(x: Any, y: Any) -> Any:
        if x is None:
            return None
        if isinstance(x, (int, float, complex)):  # of no dtype that would be kept
            return x + scalar * y
        x = jnp.asarray(x)
        dtype = wider(x.dtype, jnp.result_type(y))
        return (x.astype(dtype) + _times(scalar, jnp.asarray(y).astype(dtype))).astype(x.dtype)

    return jax.tree.map(leaf, tree_x, tree_y, is_leaf=lambda x: x is None)


def _times(scalar: Any, x: Any) -> Array:
    """Multiplies a leaf by a number in the wider of their dtypes; the result has the leaf's."""
    x = jnp.asarray(x)
    if isinstance(scalar, (int, float, complex)):
        return x * scalar
    scalar = jnp.asarray(scalar)
    dtype = wider(scalar.dtype, x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x.dtype
    return (scalar.astype(dtype) * x.astype(dtype)).astype(x.dtype)


def clip(tree: PyTree, min_value: Any = None, max_value: Any = None) -> PyTree:
    """Bounds every element.

    Example:
      >>> clip({"a": jnp.array([-3.0, 0.5])}, -1.0, 1.0)
      {'a': Array([-1. ,  0.5], dtype=float32)}
    """
    return jax.tree.map(lambda x: jnp.clip(x, min_value, max_value), tree)


def where(condition: Any, tree_x: PyTree, tree_y: PyTree) -> PyTree:
    """Chooses elements of the first tree where the condition holds, else of the second.

    Args:
      condition: booleans that broadcast with every leaf.

    Example:
      >>> where(True, {"a": 1.0}, {"a": 2.0})
      {'a': Array(1., dtype=float32, weak_type=True)}
    """
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), tree_x, tree_y)


def conj(tree: PyTree) -> PyTree:
    """Conjugates every leaf.

    Example:
      >>> conj({"a": jnp.array([1 + 2j])})
      {'a': Array([1.-2.j], dtype=complex64)}
    """
    return jax.tree.map(jnp.conj, tree)


def real(tree: PyTree) -> PyTree:
    """Takes the real part of every leaf.

    Example:
      >>> real({"a": jnp.array([1 + 2j])})
      {'a': Array([1.], dtype=float32)}
    """
    return jax.tree.map(jnp.real, tree)
