"""Converts saved arrays to arrays of a state, with the state's dtypes and shardings."""

from collections.abc import Hashable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jax.typing import ArrayLike

from ..core.leaf.quantized import QuantizedArray

__all__ = [
    "HostArray",
    "SavedArray",
    "StateArray",
    "dtype_of",
    "fits",
    "has_shape",
    "is_key",
    "place",
    "saved_shape",
]

HostArray: TypeAlias = np.ndarray
"""An array in the memory of the host."""

SavedArray: TypeAlias = np.ndarray | jax.Array | QuantizedArray
"""A saved array; a checkpoint library may restore it to devices, or in quantized form."""

StateArray: TypeAlias = np.ndarray | jax.Array | jax.ShapeDtypeStruct | QuantizedArray
"""A leaf of a state, or its shape."""

_KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""Kinds of dtypes; each can hold the values of those before it."""


def place(value: ArrayLike | QuantizedArray, like: StateArray) -> Any:
    """Returns the value as a new array with the dtype and sharding of `like`.

    The array is new because a state's arrays may be donated. The result is committed to a device
    only if `like` is.
    """
    if isinstance(value, QuantizedArray) or isinstance(like, QuantizedArray):
        return _place_quantized(value, like)
    sharding = _sharding(like)
    if is_key(like):
        keys = jax.random.wrap_key_data(jnp.array(value), impl=_key_implementation(like))
        return keys if sharding is None else jax.device_put(keys, sharding)
    if isinstance(like, (np.ndarray, np.generic)):
        copy = np.array(value, like.dtype)
        return copy[()] if isinstance(like, np.generic) else copy
    on_device = isinstance(value, jax.Array)
    new = jnp.array(value, like.dtype) if on_device else np.array(value).astype(like.dtype)
    if 0 in new.shape:
        new = new.reshape(like.shape)
    return jax.device_put(new, sharding)


def _place_quantized(value: ArrayLike | QuantizedArray, like: StateArray) -> Any:
    """Returns the value as a new array, quantized if `like` is."""
    if type(value) is type(like):
        return jax.tree.map(place, value, like)
    plain = (
        value.decoded() if isinstance(value, QuantizedArray) else jnp.asarray(value, jnp.float32)
    )
    return place(type(like).of(plain, None) if isinstance(like, QuantizedArray) else plain, like)


def saved_shape(x: StateArray) -> tuple[int, ...]:
    """Returns the shape with which an array is saved."""
    return jax.eval_shape(jax.random.key_data, x).shape if is_key(x) else np.shape(x)


def has_shape(value: SavedArray, shape: tuple[int, ...]) -> bool:
    """Tells whether a value has a shape, as far as JSON can keep the shape.

    An array without elements is written as nested lists, which end at the first axis of size 0.
    """
    saved = np.shape(value)
    return saved == shape or (0 in shape and saved == shape[: shape.index(0) + 1])


def fits(value: SavedArray, like: StateArray) -> bool:
    """Tells whether the dtype of `like` can represent the kind of number that was saved.

    Real numbers do not fit into integers, nor complex numbers into real ones.
    """
    target = np.dtype(np.uint32) if is_key(like) else like.dtype
    return _kind(dtype_of(value)) <= _kind(target)


def dtype_of(x: object) -> np.dtype:
    """Returns the dtype of an array or a number."""
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _kind(dtype: np.dtype) -> int:
    """Returns the index of a dtype's kind in `_KINDS`."""
    return next((i for i, kind in enumerate(_KINDS) if jnp.issubdtype(dtype, kind)), len(_KINDS))


def is_key(x: object) -> bool:
    """Tells whether x is a random key, an array of keys, or the shape of one."""
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _key_implementation(like: StateArray) -> Hashable:
    """Returns the name of the generator that a key, or the shape of a key, belongs to."""
    return jax.random.key_impl(like if isinstance(like, jax.Array) else jnp.empty((), like.dtype))


def _sharding(like: StateArray) -> Sharding | None:
    """Returns the sharding that a copy must have, or None for the default device."""
    if isinstance(like, jax.Array):
        return like.sharding if like.committed else None
    return getattr(like, "sharding", None)
