"""How an array is divided into blocks of at most 256 elements, which lie next to each other."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

__all__ = ["BLOCK", "Blocks"]

Array = jax.Array

BLOCK = 256
"""Elements of a block, as in the implementation of the paper; the paper has 2048."""

SIGN = np.int32(-(2**31))
"""The sign bit of a float32; as an integer, the smallest one."""

SMALLEST = np.int32(2**23)
"""The bits of the smallest normal float32."""


class Blocks:
    """The blocks of an array of at least 256 elements.

    A block is a run along the last axis. Where that axis is shorter than a block, a block is a run
    of whole rows along the axis before it, and so on: 25 rows of an array `(1000, 10)`. The last
    run along an axis may be shorter. So a block does not cross axes before that one, and axes that
    are added in front of an array do not change its blocks.

    For computing, an axis is reshaped to (runs, elements of a run) if all runs are whole. Else it
    is computed by elements, because padding its last run in every loop takes longer. In `units`,
    such an axis is divided into pieces that are as long as possible: 4000 elements into 125 pieces
    of 32.

    Attributes:
      axis: the axis that is cut into runs.
      run: number of its elements in a block.
      shape: shape of an array with one number for each block.
    """

    def __init__(self, shape: tuple[int, ...]):
        # Axes join the run from the last one on, while all of them fit into a block.
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
        """Returns a shape with as many elements, and the multiples at which axis 0 can be cut."""
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

    def undivided(self, x: Array) -> Array:
        """Undoes `divided`."""
        return x.reshape(self._whole)

    def per_element(self, numbers: Array) -> Array:
        """Reshapes one number per block so that it broadcasts to the divided array."""
        pieces_per_block = self.run // self._piece
        if pieces_per_block > 1:
            # Each piece gets the number of its block; the last block may have fewer pieces.
            repeated = jnp.broadcast_to(numbers[..., None], (*self.shape, pieces_per_block))
            repeated = repeated.reshape(*self.shape[:-1], self.shape[-1] * pieces_per_block)
            numbers = jax.lax.slice_in_dim(repeated, 0, self._pieces, axis=self.axis)
        inner = len(self._whole) - self.axis
        return numbers.reshape(*numbers.shape, *(1,) * inner)

    def largest(self, x: Array) -> tuple[Array, Array]:
        """Computes each block's largest magnitude, and whether the block has negative elements."""
        return _largest(self, x)

    def filled(self, x: Array, value: float | np.int32) -> Array:
        """Pads the last block, and puts an axis of blocks in front of the axes within a block.

        The elements of a block are one axis, which compilers can vectorize. On several devices
        they keep their axes, which may be sharded.
        """
        missing = self.shape[-1] * self.run - x.shape[self.axis]
        edges = [(0, missing if i == self.axis else 0) for i in range(x.ndim)]
        x = jnp.pad(x, edges, constant_values=value) if missing else x
        if jax.device_count() == 1:
            return x.reshape(*self.shape, -1)
        return x.reshape(*self.shape, self.run, *x.shape[self.axis + 1 :])

    def spec(self, spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> PartitionSpec:
        """Returns the spec of one number per block, where the array has `spec`."""
        entries = [*spec[: self.axis + 1]]
        if len(entries) == self.axis + 1 and entries[-1] is not None:
            names = entries[-1] if isinstance(entries[-1], tuple) else (entries[-1],)
            devices = math.prod(mesh.shape[name] for name in names)
            if self.shape[-1] % devices:
                entries[-1] = None
        # Written without trailing None, as programs return it: jit compiles again for others.
        while entries and entries[-1] is None:
            entries.pop()
        return PartitionSpec(*entries)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(blocks: Blocks, x: Array) -> tuple[Array, Array]:
    """Compares bits as integers, separately for non-negative and for negative numbers.

    So all elements are read once. A maximum of floats would look for NaN, which compilers do not
    vectorize.
    """
    bits = blocks.filled(jax.lax.bitcast_convert_type(x, jnp.int32), SIGN)
    above, below = _maxima((bits, bits ^ SIGN), tuple(range(len(blocks.shape), bits.ndim)))
    # Subnormal numbers count as 0, as in XLA's arithmetic.
    above, below = (jnp.where(y < SMALLEST, 0, y) for y in (above, below))
    largest = jnp.maximum(above, below)
    return jax.lax.bitcast_convert_type(largest, jnp.float32), below > 0


@_largest.defjvp
def _largest_jvp(
    blocks: Blocks, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Any]]:
    """Differentiates the maximum of the magnitudes."""

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

    # Without the barrier, XLA would compute this at compile time if the arrays are constant, as
    # the zeros of `init` are, and that takes minutes.
    least = jax.lax.optimization_barrier(jnp.asarray(SIGN))
    first, second = jax.lax.reduce(tuple(arrays), (least, least), larger, axes)
    return first, second
