"""Saved arrays as the state's: in its dtype, and where its arrays are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.stored import is_stored

__all__ = ["fits", "is_key", "place", "saved_shape"]

_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""Each holds the values of those before it."""


def place(value: Any, like: Any) -> Any:
    """The value as a new array with the dtype and sharding of another.

    New, for a state's arrays may be donated. An array of the template without a place of its
    own makes one without.
    """
    if is_stored(value) or is_stored(like):
        return _in_form(value, like)
    sharding = _sharding(like)
    if is_key(like):
        keys = jax.random.wrap_key_data(jnp.array(value), impl=_implementation(like))
        return keys if sharding is None else jax.device_put(keys, sharding)
    if isinstance(like, (np.ndarray, np.generic)):
        copy = np.array(value, like.dtype)
        return copy[()] if isinstance(like, np.generic) else copy
    on_device = isinstance(value, jax.Array)
    new = jnp.array(value, like.dtype) if on_device else np.array(value).astype(like.dtype)
    return jax.device_put(new, sharding)


def _in_form(value: Any, like: Any) -> Any:
    """The value as a new array in the form of another, or in none where that has none."""
    if type(value) is type(like):
        return jax.tree.map(place, value, like)
    plain = value.decoded() if is_stored(value) else jnp.asarray(value).astype(jnp.float32)
    return place(type(like).of(plain, None) if is_stored(like) else plain, like)


def saved_shape(x: Any) -> tuple[int, ...]:
    """The shape that an array has where it is saved."""
    return jax.eval_shape(jax.random.key_data, x).shape if is_key(x) else np.shape(x)


def fits(value: Any, like: Any) -> bool:
    """Whether a dtype can take the values: a real number is no integer, a complex one not real."""
    there = np.asarray(value).dtype if not hasattr(value, "dtype") else value.dtype
    here = np.dtype(np.uint32) if is_key(like) else like.dtype
    return _kind(there) <= _kind(here)


def _kind(dtype: Any) -> int:
    return next((i for i, kind in enumerate(_KINDS) if jnp.issubdtype(dtype, kind)), len(_KINDS))


def is_key(x: Any) -> bool:
    """Whether x is a random key, or an array of them, or stands for one."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _implementation(like: Any) -> Any:
    """Of a key or of what stands for one."""
    return jax.random.key_impl(like if isinstance(like, jax.Array) else jnp.empty((), like.dtype))


def _sharding(like: Any) -> Any:
    if isinstance(like, jax.Array):
        return like.sharding if like.committed else None
    return getattr(like, "sharding", None)
