"""Makes saved arrays into arrays of the state, in its dtypes and shardings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.leaf.quantized import is_stored

__all__ = ["dtype_of", "fits", "has_shape", "is_key", "place", "saved_shape"]

_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""Kinds of dtypes; each can hold the values of those before it."""


def place(value: Any, like: Any) -> Any:
    """Returns the value as a new array with the dtype and sharding of `like`.

    It is a new array because a state's arrays may be donated. Where `like` is not committed to a
    device, neither is the result.
    """
    if is_stored(value) or is_stored(like):
        return _place_quantized(value, like)
    sharding = _sharding(like)
    if is_key(like):
        keys = jax.random.wrap_key_data(jnp.array(value), impl=_implementation(like))
        return keys if sharding is None else jax.device_put(keys, sharding)
    if isinstance(like, (np.ndarray, np.generic)):
        copy = np.array(value, like.dtype)
        return copy[()] if isinstance(like, np.generic) else copy
    on_device = isinstance(value, jax.Array)
    new = jnp.array(value, like.dtype) if on_device else np.array(value).astype(like.dtype)
    if 0 in new.shape:
        new = new.reshape(like.shape)
    return jax.device_put(new, sharding)


def _place_quantized(value: Any, like: Any) -> Any:
    """Returns the value as a new array, quantized if `like` is."""
    if type(value) is type(like):
        return jax.tree.map(place, value, like)
    plain = value.decoded() if is_stored(value) else jnp.asarray(value).astype(jnp.float32)
    return place(type(like).of(plain, None) if is_stored(like) else plain, like)


def saved_shape(x: Any) -> tuple[int, ...]:
    """Returns the shape with which an array is saved."""
    return jax.eval_shape(jax.random.key_data, x).shape if is_key(x) else np.shape(x)


def has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    """Tells whether a value has a shape, or what JSON keeps of one: without elements, the axes
    up to the first one of size 0."""
    whole = np.shape(value)
    return whole == shape or (0 in shape and whole == shape[: shape.index(0) + 1])


def fits(value: Any, like: Any) -> bool:
    """Tells whether a dtype can hold the values: integers hold no reals, reals no complex ones."""
    target = np.dtype(np.uint32) if is_key(like) else like.dtype
    return _kind(dtype_of(value)) <= _kind(target)


def dtype_of(x: Any) -> Any:
    """Returns the dtype of an array or a number."""
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _kind(dtype: Any) -> int:
    return next((i for i, kind in enumerate(_KINDS) if jnp.issubdtype(dtype, kind)), len(_KINDS))


def is_key(x: Any) -> bool:
    """Tells whether x is a random key, an array of keys, or the shape of one."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _implementation(like: Any) -> Any:
    """Returns the implementation of a key, or of the shape of one."""
    return jax.random.key_impl(like if isinstance(like, jax.Array) else jnp.empty((), like.dtype))


def _sharding(like: Any) -> Any:
    if isinstance(like, jax.Array):
        return like.sharding if like.committed else None
    return getattr(like, "sharding", None)
