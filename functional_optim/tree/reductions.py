"""Reductions of a whole tree to one number."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..core.numerics.precision import compute_dtype, hyper_dtype, wider
from ..core.protocol import PyTree
from ..core.trees.norms import global_norm

__all__ = ["widen", "max", "min", "norm", "size", "sum", "vdot"]

Array = jax.Array


def widen(x: ArrayLike) -> Array:
    """Casts an array to the dtype of its sums: at least float32, or integers."""
    x = jnp.asarray(x)
    return x.astype(compute_dtype(x.dtype)) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _total(parts: list[Array]) -> Array:
    """Sums scalars pairwise: the rounding error grows with the logarithm of their number."""
    if not parts:
        return jnp.zeros((), hyper_dtype())
    dtype = functools.reduce(_common_dtype, [x.dtype for x in parts])
    return jnp.sum(jnp.stack([x.astype(dtype) for x in parts]))


def _common_dtype(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    inexact = [x for x in (a, b) if jnp.issubdtype(x, jnp.inexact)]
    return functools.reduce(wider, inexact) if inexact else np.promote_types(a, b)


def sum(tree: PyTree, associative_reduction: bool = False) -> Array:
    """Sums all elements, `()`; 0 without elements.

    Args:
      associative_reduction: has no effect; the sums of leaves are always added pairwise.

    Example:
      >>> float(sum({"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}))
      6.0
    """
    del associative_reduction
    return _total([jnp.sum(widen(x)) for x in jax.tree.leaves(tree)])


def vdot(tree_x: PyTree, tree_y: PyTree) -> Array:
    """Computes the inner product `()` of two trees, with the conjugate of the first.

    Example:
      >>> float(vdot({"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([3.0, 4.0])}))
      11.0
    """

    def leaf(x: ArrayLike, y: ArrayLike) -> Array:
        x, y = widen(x), widen(y)
        dtype = _common_dtype(x.dtype, y.dtype)
        # Accelerators would otherwise round the operands to bfloat16.
        return jnp.vdot(x.astype(dtype), y.astype(dtype), precision=jax.lax.Precision.HIGHEST)

    return _total(jax.tree.leaves(jax.tree.map(leaf, tree_x, tree_y)))


def _extreme(best: Callable[..., Array], tree: PyTree, if_empty: float) -> Array:
    extremes = [best(widen(x)) for x in jax.tree.leaves(tree) if np.size(x)]
    if not extremes:
        return jnp.array(if_empty, hyper_dtype())
    dtype = functools.reduce(_common_dtype, [x.dtype for x in extremes])
    return best(jnp.stack([x.astype(dtype) for x in extremes]))


def max(tree: PyTree) -> Array:
    """Returns the largest element, `()`; -inf without elements.

    Example:
      >>> float(max({"a": jnp.array([1.0, 5.0]), "b": jnp.array(3.0)}))
      5.0
    """
    return _extreme(jnp.max, tree, -np.inf)


def min(tree: PyTree) -> Array:
    """Returns the smallest element, `()`; inf without elements.

    Example:
      >>> float(min({"a": jnp.array([1.0, 5.0]), "b": jnp.array(3.0)}))
      1.0
    """
    return _extreme(jnp.min, tree, np.inf)


def size(tree: PyTree) -> int:
    """Counts all elements.

    Example:
      >>> size({"a": jnp.zeros((2, 3)), "b": jnp.zeros(())})
      7
    """
    return functools.reduce(operator.add, (np.size(x) for x in jax.tree.leaves(tree)), 0)


def norm(tree: PyTree, ord: int | str | float | None = None, squared: bool = False) -> Array:
    """Computes the norm `()` of all elements taken as one vector.

    Args:
      ord: 2 or None, 1, or infinity (`jnp.inf`, `"inf"`, `"infinity"`).
      squared: whether to return the square of the norm.

    Raises:
      ValueError: `ord` is none of these.

    Example:
      >>> float(norm({"a": jnp.array([3.0]), "b": jnp.array([-4.0])}))
      5.0
    """
    if ord is None or ord == 2:
        value = global_norm(tree)
    elif ord == 1:
        value = sum(jax.tree.map(lambda x: jnp.abs(widen(x)), tree))
    elif ord in (np.inf, "inf", "infinity"):
        value = jnp.maximum(max(jax.tree.map(jnp.abs, tree)), 0)
    else:
        raise ValueError(f"norm: ord must be 1, 2 or inf, got {ord!r}.")
    return jnp.square(value) if squared else value
