"""Numbers of a whole tree."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.numerics.precision import compute_dtype, hyper_dtype, wider
from ..core.trees.norms import global_norm

__all__ = ["in_wide", "max", "min", "norm", "size", "sum", "vdot"]

Array = jax.Array
PyTree = Any


def in_wide(x: Any) -> Array:
    """Casts an array to the dtype of its sums: at least float32, or integers."""
    x = jnp.asarray(x)
    return x.astype(compute_dtype(x.dtype)) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _total(parts: list[Array]) -> Array:
    """Sums scalars by halves: 2,000 leaves lose no more digits than 11 would."""
    if not parts:
        return jnp.zeros((), hyper_dtype())
    dtype = functools.reduce(_common, [x.dtype for x in parts])
    return jnp.sum(jnp.stack([x.astype(dtype) for x in parts]))


def _common(a: Any, b: Any) -> Any:
    inexact = [x for x in (a, b) if jnp.issubdtype(x, jnp.inexact)]
    return functools.reduce(wider, inexact) if inexact else np.promote_types(a, b)


def sum(tree: PyTree, associative_reduction: bool = False) -> Array:
    """Sums all elements, `()`; 0 without elements.

    Args:
      associative_reduction: changes nothing here: the leaves' sums are always added by halves.

    Example:
      >>> float(sum({"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}))
      6.0
    """
    del associative_reduction
    return _total([jnp.sum(in_wide(x)) for x in jax.tree.leaves(tree)])


def vdot(tree_x: PyTree, tree_y: PyTree) -> Array:
    """Computes the inner product `()` of two trees, with the conjugate of the first.

    Example:
      >>> float(vdot({"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([3.0, 4.0])}))
      11.0
    """

    def leaf(x: Any, y: Any) -> Array:
        x, y = in_wide(x), in_wide(y)
        dtype = _common(x.dtype, y.dtype)
        return jnp.vdot(x.astype(dtype), y.astype(dtype), precision=jax.lax.Precision.HIGHEST)

    return _total(jax.tree.leaves(jax.tree.map(leaf, tree_x, tree_y)))


def _extreme(best: Callable[..., Array], tree: PyTree, none: float) -> Array:
    found = [best(in_wide(x)) for x in jax.tree.leaves(tree) if np.size(x)]
    if not found:
        return jnp.array(none, hyper_dtype())
    dtype = functools.reduce(_common, [x.dtype for x in found])
    return best(jnp.stack([x.astype(dtype) for x in found]))


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
      squared: whether to return its square.

    Raises:
      ValueError: another `ord`.

    Example:
      >>> float(norm({"a": jnp.array([3.0]), "b": jnp.array([-4.0])}))
      5.0
    """
    if ord is None or ord == 2:
        found = global_norm(tree)
    elif ord == 1:
        found = sum(jax.tree.map(lambda x: jnp.abs(in_wide(x)), tree))
    elif ord in (np.inf, "inf", "infinity"):
        found = jnp.maximum(max(jax.tree.map(jnp.abs, tree)), 0)
    else:
        raise ValueError(f"norm: ord must be 1, 2 or inf, got {ord!r}.")
    return jnp.square(found) if squared else found
