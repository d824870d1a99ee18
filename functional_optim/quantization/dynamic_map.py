"""The dynamic map: 256 numbers from -1 to 1, or from 0 to 1, that lie closer towards 0."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["SIGNED_ZERO", "decode", "encode", "numbers"]

Array = jax.Array

DECADES = 7
"""From 1e-7 to 1. Each has twice as many numbers as the one below."""

SIGNED_ZERO = 127
"""The code of 0 where numbers have a sign; where they have none, it is 0."""

SPACED = np.float32(2**23)
"""The last bits of this number and a whole one are those of the whole one."""


def numbers(signed: bool) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Returns the numbers of the map in ascending order; a code is the index of one.

    They are 0, 1, and the middles of equal parts of the decades: with a sign, of 1, 2, ..., 64
    parts on either side of 0, and without one of 2, 4, ..., 128.
    """
    found = [np.array([0.0, 1.0])]
    for i in range(DECADES):
        edges = np.linspace(0.1, 1, 2 ** (i if signed else i + 1) + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (i - DECADES + 1)
        found += [middles, -middles] if signed else [middles]
    return np.sort(np.concatenate(found))


_NUMBERS = np.concatenate([numbers(False), numbers(True)]).astype(np.float32)


def decode(codes: Array, signed: Array) -> Array:
    """Returns the float32 numbers that codes stand for.

    Args:
      codes: integers from 0 to 255.
      signed: whether the numbers have a sign; of a shape that broadcasts to that of the codes.
    """
    place = codes.astype(jnp.uint32) + jnp.where(signed, np.uint32(256), np.uint32(0))
    return jnp.asarray(_NUMBERS).at[place].get(mode="promise_in_bounds")


def encode(y: Array, signed: Array, random: Array | None = None) -> Array:
    """Codes of y, int32: of the nearest number, or at random of one of the two beside it.

    They are computed: a search takes many times as long. What is selected are floats, and a code
    is read from the bits of its float, for casts, maxima and minima would look for NaN and for
    what no integer can be.

    Without a sign, what is not 0 does not become 0, for second moments are divided by.

    Args:
      y: float32, in [-1, 1].
      signed: as of `decode`.
      random: uniform in [0, 1), shaped as y; where given, the mean of the numbers is y.
    """
    size = jnp.abs(y)
    parts: Array = jnp.float32(1)  # of the decade
    per_unit: Array = jnp.float32(10.0 ** (DECADES - 1) / 0.9)
    for i in range(1, DECADES):
        reached = size >= np.float32(10.0 ** (i - DECADES))
        parts = jnp.where(reached, np.float32(2**i), parts)
        finer = np.float32(2**i * 10.0 ** (DECADES - 1 - i) / 0.9)
        per_unit = jnp.where(reached, finer, per_unit)
    times = jnp.where(signed, np.float32(1), np.float32(2))
    within = size * per_unit * times - parts * (times / 9)
    parts = parts * times
    last = 64 * times
    part = _nearest(within, last) if random is None else _either(within, parts, last, random)
    zero = jnp.where(signed, np.float32(SIGNED_ZERO), np.float32(-1))
    code = _with_sign(parts + part, y) + (zero + SPACED)
    least = jnp.where((y > 0) & ~signed, SPACED + 1, SPACED)
    return _bits(jnp.where(code > least, code, least)) & 255


def _nearest(within: Array, last: Array) -> Array:
    """Finds the part of a decade whose middle is nearest; -1 for the last one of the decade below.

    That one ends a tenth of a part before this decade begins, whose first number is half a part
    inside: below a fifth the former is nearer. So is 1, from a quarter before the end on.

    Args:
      within: place in the decade, in its parts.
      last: parts of the last decade.
    """
    part = jnp.where(within >= last - np.float32(0.25), last, jnp.floor(within))
    return jnp.where(within < np.float32(0.2), np.float32(-1), part)


def _either(within: Array, parts: Array, last: Array, random: Array) -> Array:
    """Chooses one of the two neighbouring numbers at random, so that the mean is right."""
    below = jnp.floor(within - np.float32(0.5))
    share = within - np.float32(0.5) - below
    # The number below the first one is the last of the decade below, a tenth of a part before this
    # decade begins, or 0. What is above the last one has parts of five times the size, or is 1.
    before = jnp.where(parts * 64 > last, np.float32(0.1), last / (64 * 9))
    share = jnp.where(below < 0, (within + before) / (before + np.float32(0.5)), share)
    beyond = jnp.where(parts < last, np.float32(3), np.float32(0.5))
    share = jnp.where(below >= parts - 1, (within - parts + np.float32(0.5)) / beyond, share)
    return below + jnp.where(random < share, np.float32(1), np.float32(0))


def _with_sign(size: Array, y: Array) -> Array:
    """Gives a magnitude the sign of y."""
    bits = _bits(size) | (_bits(y) & np.int32(-(2**31)))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _bits(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.int32)
