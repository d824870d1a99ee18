"""The dynamic map: 256 numbers from -1 to 1, or from 0 to 1, which are denser towards 0."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["SIGNED_ZERO", "decode", "encode", "numbers"]

Array = jax.Array

DECADES = 7
"""Decades from 1e-7 to 1. Each has twice as many numbers as the one below."""

SIGNED_ZERO = 127
"""The code of 0 in the map with signs; without signs it is 0."""

SPACED = np.float32(2**23)
"""Added to a small whole number, it gives a float whose last bits are that number."""


def numbers(signed: bool) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Returns the numbers of the map in ascending order; a code is the index of one.

    They are 0, 1, and the middles of equal parts of the decades: with signs, of 1, 2, ..., 64 parts
    on either side of 0, and without signs of 2, 4, ..., 128 parts.
    """
    values = [np.array([0.0, 1.0])]
    for i in range(DECADES):
        edges = np.linspace(0.1, 1, 2 ** (i if signed else i + 1) + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (i - DECADES + 1)
        values += [middles, -middles] if signed else [middles]
    return np.sort(np.concatenate(values))


_NUMBERS = np.concatenate([numbers(False), numbers(True)]).astype(np.float32)


def decode(codes: Array, signed: Array) -> Array:
    """Returns the float32 numbers of codes.

    Args:
      codes: integers from 0 to 255.
      signed: whether the numbers have a sign; its shape broadcasts to the shape of the codes.
    """
    index = codes.astype(jnp.uint32) + jnp.where(signed, np.uint32(256), np.uint32(0))
    return jnp.asarray(_NUMBERS).at[index].get(mode="promise_in_bounds")


def encode(y: Array, signed: Array, random: Array | None = None) -> Array:
    """Returns the codes of y, int32: of the nearest number, or of a random neighbouring one.

    They are computed, because a search takes many times as long. The arithmetic selects floats,
    and a code is read from the bits of its float: casts, maxima and minima would check for NaN
    and for values beyond the integers.

    Without signs, nonzero values do not become 0, because updates are divided by second moments.

    Args:
      y: float32, in [-1, 1].
      signed: as in `decode`.
      random: uniform in [0, 1), shaped as y: rounds up or down at random, so that the mean is y.
    """
    magnitude = jnp.abs(y)
    parts: Array = jnp.float32(1)  # of the decade
    per_unit: Array = jnp.float32(10.0 ** (DECADES - 1) / 0.9)
    for i in range(1, DECADES):
        reached = magnitude >= np.float32(10.0 ** (i - DECADES))
        parts = jnp.where(reached, np.float32(2**i), parts)
        finer = np.float32(2**i * 10.0 ** (DECADES - 1 - i) / 0.9)
        per_unit = jnp.where(reached, finer, per_unit)
    # Without signs, each decade has twice as many parts.
    fineness = jnp.where(signed, np.float32(1), np.float32(2))
    within = magnitude * per_unit * fineness - parts * (fineness / 9)
    parts = parts * fineness
    last = 64 * fineness
    part = _nearest(within, last) if random is None else _either(within, parts, last, random)
    zero = jnp.where(signed, np.float32(SIGNED_ZERO), np.float32(-1))
    code = _with_sign(parts + part, y) + (zero + SPACED)
    least = jnp.where((y > 0) & ~signed, SPACED + 1, SPACED)
    return _bits(jnp.where(code > least, code, least)) & 255


def _nearest(within: Array, last: Array) -> Array:
    """Finds the part of a decade whose middle is nearest; -1 is the last part of the decade below.

    In units of this decade's parts, the last number of the decade below is a tenth of a part before
    the decade begins, and the first number of the decade half a part after: below 0.2, the former
    is nearer. In the last decade, 1 is nearer from a quarter of a part before the end on.

    Args:
      within: position in the decade, in units of its parts.
      last: number of parts of the last decade.
    """
    part = jnp.where(within >= last - np.float32(0.25), last, jnp.floor(within))
    return jnp.where(within < np.float32(0.2), np.float32(-1), part)


def _either(within: Array, parts: Array, last: Array, random: Array) -> Array:
    """Chooses one of the two neighbouring numbers at random, so that the mean is right."""
    below = jnp.floor(within - np.float32(0.5))
    share = within - np.float32(0.5) - below
    # Before the first number of the decade is the last one of the decade below, a tenth of a part
    # before the decade begins, or 0. After the last number is one whose parts are five times as
    # large, or 1.
    before = jnp.where(parts * 64 > last, np.float32(0.1), last / (64 * 9))
    share = jnp.where(below < 0, (within + before) / (before + np.float32(0.5)), share)
    beyond = jnp.where(parts < last, np.float32(3), np.float32(0.5))
    share = jnp.where(below >= parts - 1, (within - parts + np.float32(0.5)) / beyond, share)
    return below + jnp.where(random < share, np.float32(1), np.float32(0))


def _with_sign(magnitude: Array, y: Array) -> Array:
    """Gives a magnitude the sign of y."""
    bits = _bits(magnitude) | (_bits(y) & np.int32(-(2**31)))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _bits(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.int32)
