"""Casts between the dtype that an array has and the dtype that it is computed in."""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["cast", "cast_like"]

Array = jax.Array


def cast(tree: Any, dtype: Any) -> Any:
    """Casts the inexact arrays of a tree to `dtype`, leaving integers alone."""

    def convert(x: Array) -> Array:
        if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        return x.astype(dtype)

    return jax.tree.map(convert, tree)


def cast_like(new: Array, old: Array) -> Array:
    """Casts a new value to the dtype that the old one has."""
    return new if new.dtype == old.dtype else new.astype(old.dtype)
