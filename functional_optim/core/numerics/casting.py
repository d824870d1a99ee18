"""Casts between the dtype in which an array is stored and the dtype of the computation."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..protocol import PyTree

__all__ = ["cast", "cast_like"]

Array = jax.Array


def cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """Casts the inexact arrays of a tree to `dtype`, leaving integers alone.

    Complex arrays stay complex, in the precision of a `dtype` that is real.
    """

    def convert(x: Array) -> Array:
        if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        target = dtype
        if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
            target = jnp.complex128 if jnp.dtype(dtype).itemsize == 8 else jnp.complex64
        return x if x.dtype == target else x.astype(target)

    return jax.tree.map(convert, tree)


def cast_like(new: Array, old: Array) -> Array:
    """Casts a new value to the dtype of the old one."""
    return new if new.dtype == old.dtype else new.astype(old.dtype)
