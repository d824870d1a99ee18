"""How an array is divided into blocks of at most 256 elements, which lie next to each other."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

__all__ = ["BLOCK", "Blocks"]

Array = jax.Array

BLOCK = 256
"""As in the implementation of the paper, which has 2048."""


class Blocks:
    """The blocks of an array of at least 256 elements.

    A block is a run along the last axis. Where this axis is shorter than a block, it is a run
    along the one before of all that is in the last axis, and so on: of `(1000, 10)`, 25 rows. The
    last run of an axis may be shorter. So a block never lies in two runs of an axis before, and
    axes put in front of an array change nothing.

    Attributes:
      axis: the axis that is cut into runs.
      run: how many of its elements a block has.
      shape: of what has one number for each block.
    """

    def __init__(self, shape: tuple[int, ...]):
        axis, whole = len(shape), 1
        while axis and whole * shape[axis - 1] < BLOCK:
            axis -= 1
            whole *= shape[axis]
        self.axis = max(axis - 1, 0)
        self.run = BLOCK // whole
        self._whole = shape
        runs = math.ceil(shape[self.axis] / self.run)
        self._rest = runs * self.run - shape[self.axis]
        self.shape = (*shape[: self.axis], runs)

    @property
    def units(self) -> tuple[int, ...]:
        """A shape with the same elements, of whose first axis each has blocks of its own."""
        inner = self._whole[self.axis + 1 :]
        if self._rest:
            return (math.prod(self._whole[: self.axis]), self._whole[self.axis], *inner)
        return (math.prod(self.shape), self.run, *inner)

    def divided(self, x: Array) -> Array:
        """The array with an axis of runs, filled up with zeros."""
        if self._rest:
            edges = [(0, self._rest if i == self.axis else 0) for i in range(x.ndim)]
            x = jnp.pad(x, edges)
        return x.reshape(*self.shape, self.run, *x.shape[self.axis + 1 :])

    def joined(self, x: Array) -> Array:
        """What was divided, whole again."""
        filled = (*self.shape[:-1], self.shape[-1] * self.run, *self._whole[self.axis + 1 :])
        x = x.reshape(filled)
        if not self._rest:
            return x
        return jax.lax.slice_in_dim(x, 0, self._whole[self.axis], axis=self.axis)

    def beside(self, numbers: Array) -> Array:
        """A number for each block, of a shape that broadcasts to what is divided."""
        inner = len(self._whole) - self.axis
        return numbers.reshape(*self.shape, *(1,) * inner)

    def extremes(self, divided: Array) -> tuple[Array, Array]:
        """The smallest and the largest element of each block."""
        axes = tuple(range(len(self.shape), divided.ndim))
        return divided.min(axes), divided.max(axes)

    def spec(self, spec: PartitionSpec, mesh: Any) -> PartitionSpec:
        """How one number for each block is sharded, where the array has `spec`."""
        kept = [*spec[: self.axis + 1]]
        if len(kept) == self.axis + 1 and kept[-1] is not None:
            names = kept[-1] if isinstance(kept[-1], tuple) else (kept[-1],)
            devices = math.prod(mesh.shape[name] for name in names)
            if self.shape[-1] % devices:
                kept[-1] = None
        return PartitionSpec(*kept)
