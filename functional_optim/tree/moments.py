"""Moments of trees and their bias corrections, for rules written on whole trees."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import one_minus_power
from ..core.numerics.validation import as_state
from ..core.protocol import PyTree
from .arithmetic import add_scale, scale

__all__ = [
    "bias_correction",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
]

Array = jax.Array


def update_moment(updates: PyTree, moments: PyTree, decay: ArrayLike, order: int) -> PyTree:
    """Computes decay moments + (1 - decay) updates^order, elementwise; None where updates are None.

    Example:
      >>> update_moment({"a": jnp.array(2.0)}, {"a": jnp.array(0.0)}, 0.75, 2)
      {'a': Array(1., dtype=float32)}
    """
    powers = jax.tree.map(lambda g: g**order, updates)
    return add_scale(scale(decay, _moments_of_present(updates, moments)), 1 - decay, powers)


def update_moment_per_elem_norm(
    updates: PyTree, moments: PyTree, decay: ArrayLike, order: int
) -> PyTree:
    """Computes `update_moment` of absolute values: of |g|^order, also for complex updates g.

    Example:
      >>> update_moment_per_elem_norm({"a": jnp.array(2j)}, {"a": jnp.array(0.0)}, 0.75, 2)
      {'a': Array(1., dtype=float32)}
    """
    return update_moment(jax.tree.map(jnp.abs, updates), moments, decay, order)


def update_infinity_moment(
    updates: PyTree, moments: PyTree, decay: ArrayLike, eps: ArrayLike
) -> PyTree:
    """Computes max(|updates| + eps, decay moments), elementwise.

    Example:
      >>> update_infinity_moment({"a": jnp.array([-2.0])}, {"a": jnp.ones(1)}, 0.5, 0.0)
      {'a': Array([2.], dtype=float32)}
    """
    decayed = scale(decay, _moments_of_present(updates, moments))
    return jax.tree.map(lambda g, m: jnp.maximum(jnp.abs(g) + eps, m), updates, decayed)


def _moments_of_present(updates: PyTree, moments: PyTree) -> PyTree:
    """Returns the moments of leaves that have an update, and None for the others."""
    return jax.tree.map(
        lambda g, m: None if g is None else m, updates, moments, is_leaf=lambda g: g is None
    )


def bias_correction(moment: PyTree, decay: ArrayLike, count: ArrayLike) -> PyTree:
    """Computes moment / (1 - decay^count), without the cancellation of the difference.

    Example:
      >>> bias_correction({"a": jnp.array(1.0)}, 0.5, 1)
      {'a': Array(2., dtype=float32)}
    """
    total = one_minus_power(as_state(decay), as_state(count))
    return scale(1 / total, moment)
