"""Checksums of arrays that do not depend on how the arrays are sharded."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["checksum"]

_MULTIPLIER = np.uint32(2654435761)  # Knuth, The art of computer programming, 6.4: 2^32 / phi


def checksum(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Computes a checksum `()`, uint32: the sum of all 32-bit words times odd numbers, mod 2^32.

    The factor of a word depends on its position, so that exchanging two words changes the sum; it
    is odd, so that any bit that flips changes the sum. A JAX array is summed on its devices, shard
    by shard, because a sum of integers does not depend on the order. A NumPy array with the same
    elements has the same checksum.
    """
    if isinstance(x, jax.Array):
        return _on_devices(x)
    return np.asarray(np.sum(_weighted(np, _words_of_host(x)), dtype=np.uint32))


@jax.jit
def _on_devices(x: jax.Array) -> jax.Array:
    return jnp.sum(_weighted(jnp, _words(x)), dtype=np.uint32)


def _words(x: jax.Array) -> jax.Array:
    """Returns the words of each element along a last axis that is added."""
    if jnp.iscomplexobj(x):
        parts = jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)
        words = _words(parts)
        return words.reshape(*x.shape, words.shape[-2] * words.shape[-1])
    if x.dtype.itemsize == 8:
        return jax.lax.bitcast_convert_type(x, np.uint32)
    if _is_cast_to_int8(x.dtype):
        x = x.astype(np.int8)
    unsigned = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    return unsigned.astype(np.uint32)[..., None]


def _words_of_host(x: np.ndarray) -> np.ndarray:
    if _is_cast_to_int8(x.dtype):
        x = x.astype(np.int8)
    size = min(x.dtype.itemsize, 4)
    flat = np.ascontiguousarray(x).reshape(-1).view(f"<u{size}").astype(np.uint32)
    return flat.reshape(*x.shape, x.dtype.itemsize // size)


def _is_cast_to_int8(dtype: np.dtype) -> bool:
    """Tells whether elements are booleans, or integers of less than a byte."""
    return dtype == np.bool_ or dtype.name in ("int2", "int4", "uint2", "uint4")


def _weighted(library, words):  # type: ignore[no-untyped-def]
    """Returns the words times odd numbers that depend on their positions."""
    index, stride = np.uint32(0), 1
    for axis in reversed(range(words.ndim)):
        shape = [1] * words.ndim
        shape[axis] = words.shape[axis]
        position = library.arange(words.shape[axis], dtype=np.uint32).reshape(shape)
        index = index + position * np.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return words * (index * _MULTIPLIER | np.uint32(1))
