"""Casts between the dtype that an array has and the dtype that it is computed in."""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["cast", "cast_like"]

Array = jax.Array


def cast(tree: Any, dtype: Any) -> Any:
    """Casts the inexact arrays of a tree to `dtype`, leaving integers alone.

    Complex arrays stay complex, in the precision of a `dtype` that is real.
    """

    def convert(x: Array) -> Array:
        if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        wanted = dtype
        if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
            wanted = jnp.complex128 if jnp.dtype(dtype).itemsize == 8 else jnp.complex64
        return x if x.dtype == wanted else x.astype(wanted)

    return jax.tree.map(convert, tree)


def cast_like(new: Array, old: Array) -> Array:
    """Casts a new value to the dtype that the old one has."""
    return new if new.dtype == old.dtype else new.astype(old.dtype)
