"""How an array is divided into blocks of at most 256 elements, which lie next to each other."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

__all__ = ["BLOCK", "Blocks"]

Array = jax.Array

BLOCK = 256
"""As in the implementation of the paper, which has 2048."""

SIGN = np.int32(-(2**31))
"""The bit of the sign of a float32, and the smallest integer."""

SMALLEST = np.int32(2**23)
"""The bits of the smallest normal number."""


class Blocks:
    """The blocks of an array of at least 256 elements.

    A block is a run along the last axis. Where this axis is shorter than a block, it is a run
    along the one before of all that is in the last axis, and so on: of `(1000, 10)`, 25 rows. The
    last run of an axis may be shorter. So a block never lies in two runs of an axis before, and
    axes put in front of an array change nothing.

    An axis of whole runs is divided into these, and another one into its elements: filling up its
    last run in every loop takes longer. In `units`, such an axis is divided into pieces that are as
    long as possible: one of 4000 elements into 125 of 32.

    Attributes:
      axis: the axis that is cut into runs.
      run: how many of its elements a block has.
      shape: of what has one number for each block.
    """

    def __init__(self, shape: tuple[int, ...]):
        axis, whole = len(shape), 1
        while axis > 1 and whole * shape[axis - 1] < BLOCK:
            axis -= 1
            whole *= shape[axis]
        self.axis = max(axis - 1, 0)
        self.run = BLOCK // whole
        self._whole = shape
        length = shape[self.axis]
        self.shape = (*shape[: self.axis], math.ceil(length / self.run))
        self._piece = 1 if length % self.run else self.run
        self._pieces = length // self._piece

    @property
    def units(self) -> tuple[tuple[int, ...], int]:
        """Returns a shape of as many elements, and the multiples at which axis 0 can be cut."""
        length, inner = self._whole[self.axis], math.prod(self._whole[self.axis + 1 :])
        front, piece = math.prod(self._whole[: self.axis]), math.gcd(length, self.run)
        if piece == self.run:
            return (math.prod(self.shape), self.run * inner), 1
        pieces = (length // piece, piece * inner)
        return ((front, *pieces), 1) if front > 1 else (pieces, self.run // piece)

    def divided(self, x: Array) -> Array:
        """Reshapes the array so that it has an axis of pieces."""
        front, inner = self._whole[: self.axis], self._whole[self.axis + 1 :]
        return x.reshape(*front, self._pieces, self._piece, *inner)

    def joined(self, x: Array) -> Array:
        """Undoes `divided`."""
        return x.reshape(self._whole)

    def beside(self, numbers: Array) -> Array:
        """Reshapes one number per block so that it broadcasts to the divided array."""
        per = self.run // self._piece
        if per > 1:
            each = jnp.broadcast_to(numbers[..., None], (*self.shape, per))
            each = each.reshape(*self.shape[:-1], self.shape[-1] * per)
            numbers = jax.lax.slice_in_dim(each, 0, self._pieces, axis=self.axis)
        inner = len(self._whole) - self.axis
        return numbers.reshape(*numbers.shape, *(1,) * inner)

    def largest(self, x: Array) -> tuple[Array, Array]:
        """Computes each block's largest magnitude, and whether the block has negative elements."""
        return _largest(self, x)

    def filled(self, x: Array, value: Any) -> Array:
        """Pads the last block, and puts an axis of blocks in front of those within a block.

        These are one axis, along which compilers can make vectors, but not on several devices:
        they might be sharded.
        """
        missing = self.shape[-1] * self.run - x.shape[self.axis]
        edges = [(0, missing if i == self.axis else 0) for i in range(x.ndim)]
        x = jnp.pad(x, edges, constant_values=value) if missing else x
        if jax.device_count() == 1:
            return x.reshape(*self.shape, -1)
        return x.reshape(*self.shape, self.run, *x.shape[self.axis + 1 :])

    def spec(self, spec: PartitionSpec, mesh: Any) -> PartitionSpec:
        """Returns the spec of one number per block, where the array has `spec`."""
        kept = [*spec[: self.axis + 1]]
        if len(kept) == self.axis + 1 and kept[-1] is not None:
            names = kept[-1] if isinstance(kept[-1], tuple) else (kept[-1],)
            devices = math.prod(mesh.shape[name] for name in names)
            if self.shape[-1] % devices:
                kept[-1] = None
        while kept and kept[-1] is None:  # as the compiler says it; jit compiles again for another
            kept.pop()
        return PartitionSpec(*kept)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(blocks: Blocks, x: Array) -> tuple[Array, Array]:
    """Compares bits as integers: those of numbers from 0 on, and those below with another sign.

    So all is read once, and compilers make vectors, as they do not of what looks for NaN.
    """
    bits = blocks.filled(jax.lax.bitcast_convert_type(x, jnp.int32), SIGN)
    above, below = _maxima((bits, bits ^ SIGN), tuple(range(len(blocks.shape), bits.ndim)))
    # What is not normal is 0, as in XLA's own arithmetic.
    above, below = (jnp.where(y < SMALLEST, 0, y) for y in (above, below))
    largest = jnp.maximum(above, below)
    return jax.lax.bitcast_convert_type(largest, jnp.float32), below > 0


@_largest.defjvp
def _largest_jvp(blocks: Blocks, primals: Any, tangents: Any) -> Any:
    """Differentiates as the largest element does."""

    def plain(x: Array) -> Array:
        filled = blocks.filled(jnp.abs(x), 0)
        return filled.max(tuple(range(len(blocks.shape), filled.ndim)))

    largest, signed = _largest(blocks, *primals)
    no_tangent = np.zeros(signed.shape, jax.dtypes.float0)
    return (largest, signed), (jax.jvp(plain, primals, tangents)[1], no_tangent)


def _maxima(arrays: Sequence[Array], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Computes the largest elements along axes of two arrays of integers, in one loop."""

    def larger(a: Sequence[Array], b: Sequence[Array]) -> tuple[Array, Array]:
        return jnp.maximum(a[0], b[0]), jnp.maximum(a[1], b[1])

    # Of constants, as the zeros of `init`, XLA would compute it when it compiles, for minutes.
    least = jax.lax.optimization_barrier(jnp.asarray(SIGN))
    first, second = jax.lax.reduce(tuple(arrays), (least, least), larger, axes)
    return first, second
