"""Running moments of trees, for rules written tree by tree."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.numerics.precision import one_minus_power
from ..core.numerics.validation import as_state
from .arithmetic import add_scale, scale

__all__ = [
    "bias_correction",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
]

Array = jax.Array
PyTree = Any


def update_moment(updates: PyTree, moments: PyTree, decay: Any, order: int) -> PyTree:
    """Computes decay moments + (1 - decay) updates^order, elementwise; None where updates are None.

    Example:
      >>> update_moment({"a": jnp.array(2.0)}, {"a": jnp.array(0.0)}, 0.75, 2)
      {'a': Array(1., dtype=float32)}
    """
    powers = jax.tree.map(lambda g: g**order, updates)
    return add_scale(scale(decay, _where_there(updates, moments)), 1 - decay, powers)


def update_moment_per_elem_norm(updates: PyTree, moments: PyTree, decay: Any, order: int) -> PyTree:
    """Computes `update_moment` of the absolute values; for complex numbers, the squares differ.

    Example:
      >>> update_moment_per_elem_norm({"a": jnp.array(2j)}, {"a": jnp.array(0.0)}, 0.75, 2)
      {'a': Array(1., dtype=float32)}
    """
    return update_moment(jax.tree.map(jnp.abs, updates), moments, decay, order)


def update_infinity_moment(updates: PyTree, moments: PyTree, decay: Any, eps: Any) -> PyTree:
    """Computes max(|updates| + eps, decay moments), elementwise.

    Example:
      >>> update_infinity_moment({"a": jnp.array([-2.0])}, {"a": jnp.ones(1)}, 0.5, 0.0)
      {'a': Array([2.], dtype=float32)}
    """
    decayed = scale(decay, _where_there(updates, moments))
    return jax.tree.map(lambda g, m: jnp.maximum(jnp.abs(g) + eps, m), updates, decayed)


def _where_there(updates: PyTree, moments: PyTree) -> PyTree:
    """Returns the moments of leaves that have an update, and None for the others."""
    return jax.tree.map(
        lambda g, m: None if g is None else m, updates, moments, is_leaf=lambda g: g is None
    )


def bias_correction(moment: PyTree, decay: Any, count: Any) -> PyTree:
    """Computes moment / (1 - decay^count), without the cancellation of the difference.

    Example:
      >>> bias_correction({"a": jnp.array(1.0)}, 0.5, 1)
      {'a': Array(2., dtype=float32)}
    """
    total = one_minus_power(as_state(decay), as_state(count))
    return scale(1 / total, moment)
