"""Rounding to a narrower dtype, within the wider one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

__all__ = ["as_float32", "check_like_init", "is_narrow", "narrow_slot", "rounded", "uniform"]

Array = jax.Array


def is_narrow(dtype: DTypeLike) -> bool:
    """Tells whether parameters of a dtype are computed in a wider one."""
    return jnp.dtype(dtype).itemsize < 4


def as_float32(*arrays: Array) -> tuple[Array, ...]:
    """Casts arrays to float32, from which `rounded` rounds to a narrow parameter."""
    return tuple(x.astype(np.float32) for x in arrays)


def uniform(key: Array | None, x: Array) -> Array | None:
    """Draws a number in [0, 1) for each element, the same however the array is sharded.

    The number is a hash of the element's position and the key, which suffices for rounding. The
    generators of JAX take twenty times as long on CPU.
    """
    if key is None:
        return None
    words = jax.random.key_data(key).reshape(-1)
    # The position is counted modulo 2**32: in larger arrays, distant elements share numbers.
    position = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        position = position * np.uint32(size % 2**32) + along
    bits = _hashed(_hashed(position ^ words[0]) ^ words[-1])
    # 24 bits, because float32 represents every multiple of 2**-24 in [0, 1), and no finer grid.
    return (bits >> np.uint32(8)).astype(jnp.float32) * np.float32(2.0**-24)


def _hashed(x: Array) -> Array:
    """Hashes by Wellons' lowbias32: a bit of x flips each bit of the result half of the time."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def rounded(x: Array, dtype: DTypeLike, random: Array | None = None) -> Array:
    """Rounds x to the numbers of a narrower dtype; the result is still float32.

    XLA removes a cast to a narrow dtype and back. This is arithmetic, which it keeps.

    Args:
      x: float32.
      dtype: bfloat16 or float16.
      random: uniform in [0, 1), shaped as x: rounds up or down at random, so that the mean is x.
        None rounds to nearest.
    """
    info = jnp.finfo(dtype)
    # The exponent bits alone are the largest power of two that is not above |x|.
    bits = jax.lax.bitcast_convert_type(x, jnp.int32) & 0x7F800000
    power = jax.lax.bitcast_convert_type(bits, jnp.float32)
    # Near 0 the numbers of the dtype are equally far apart.
    smallest = np.float32(max(info.smallest_subnormal, jnp.finfo(jnp.float32).tiny))
    spacing = jnp.maximum(power * np.float32(2.0**-info.nmant), smallest)
    # This division is exact, and so is the product below: the spacing is a power of two.
    units = x / spacing
    if random is None:
        whole = jax.lax.round(units, jax.lax.RoundingMethod.TO_NEAREST_EVEN)
    else:
        down = jnp.floor(units)
        whole = down + (random < units - down).astype(jnp.float32)
    return jnp.where(jnp.isfinite(x), whole * spacing, x)


def narrow_slot(p: Array, param_dtype: DTypeLike, dtype: DTypeLike) -> Array:
    """Makes zeros shaped as a narrow parameter; an array without elements for a wide one."""
    return jnp.zeros(p.shape if is_narrow(param_dtype) else (0,), dtype)


def check_like_init(link: str, slot: Array, p: Array, param_dtype: DTypeLike) -> None:
    """Raises ValueError if a `narrow_slot` was made for a parameter of the other width than p."""
    was_narrow = slot.shape == p.shape
    if p.size and was_narrow != is_narrow(param_dtype):  # without elements, the slots are equal
        raise ValueError(
            f"{link}: the state was made for a parameter of "
            f"{'a narrow' if was_narrow else 'a wide'} dtype, got a parameter of {param_dtype}. "
            "Call init with parameters of the dtype that is trained."
        )
