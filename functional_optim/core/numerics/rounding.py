"""Rounding to a narrower dtype, within the wider one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["as_float32", "check_like_init", "is_narrow", "narrow_slot", "rounded", "uniform"]

Array = jax.Array


def is_narrow(dtype: Any) -> bool:
    """Tells whether parameters of a dtype are computed in a wider one."""
    return jnp.dtype(dtype).itemsize < 4


def as_float32(*arrays: Array) -> tuple[Array, ...]:
    """What rounds to a narrow parameter, in float32, however wide its updates are."""
    return tuple(x.astype(np.float32) for x in arrays)


def uniform(key: Array | None, x: Array) -> Array | None:
    """Draws a number in [0, 1) for each element, the same however the array is sharded.

    They are hashes of an element's place and the key. JAX's own generator, which must serve for
    more than rounding, takes twenty times as long on CPU.
    """
    if key is None:
        return None
    words = jax.random.key_data(key).reshape(-1)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place = place * np.uint32(size % 2**32) + along
    bits = _hashed(_hashed(place ^ words[0]) ^ words[-1])
    return (bits >> np.uint32(8)).astype(jnp.float32) * np.float32(2.0**-24)


def _hashed(x: Array) -> Array:
    """Hashes by Wellons' lowbias32: a bit of x flips each bit of the result half of the time."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def rounded(x: Array, dtype: Any, random: Array | None = None) -> Array:
    """Rounds x to a narrower dtype, in which it fits float32.

    XLA takes a cast to a narrow dtype and back for one that changes nothing, and leaves both out;
    this is arithmetic, which stays.

    Args:
      x: float32.
      dtype: bfloat16 or float16.
      random: uniform in [0, 1), shaped as x; where given, x is rounded up or down at random, so
        that the mean is x.
    """
    info = jnp.finfo(dtype)
    bits = jax.lax.bitcast_convert_type(x, jnp.int32) & 0x7F800000
    power = jax.lax.bitcast_convert_type(bits, jnp.float32)
    smallest = np.float32(max(info.smallest_subnormal, jnp.finfo(jnp.float32).tiny))
    spacing = jnp.maximum(power * np.float32(2.0**-info.nmant), smallest)
    # Both exact: the spacing is a power of two.
    units = x / spacing
    if random is None:
        whole = jax.lax.round(units, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    else:
        down = jnp.floor(units)
        whole = down + (random < units - down).astype(jnp.float32)
    return jnp.where(jnp.isfinite(x), whole * spacing, x)


def narrow_slot(p: Array, param_dtype: Any, dtype: Any) -> Array:
    """Zeros shaped as a narrow parameter, and nothing for another."""
    return jnp.zeros(p.shape if is_narrow(param_dtype) else (0,), dtype)


def check_like_init(link: str, slot: Array, p: Array, param_dtype: Any) -> None:
    """Raises where a `narrow_slot` was made for a parameter of another kind than this one."""
    known = slot.shape == p.shape
    if p.size and known != is_narrow(param_dtype):  # the slot of no elements is the same for both
        raise ValueError(
            f"{link}: the state was made for a parameter of {'a narrow' if known else 'a wide'} "
            f"dtype, and it has {param_dtype} now. Call init with parameters of the dtype that "
            "is trained."
        )
