"""Packs a state's scalars into one array, because each argument of a step adds dispatch time."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ...core.protocol import PyTree
from ...core.rules.bound_rule import ENGINE_FIELDS

__all__ = ["NO_PACKING", "Arrays", "ScalarPacking"]

Arrays = list[jax.Array]
"""The arrays of a group's state, in the layout that a step takes."""


@dataclasses.dataclass(frozen=True)
class ScalarPacking:
    """Which leaves of a state are stored, bit by bit, in one array of int32.

    The packed leaves are the counts, carried scalars and hyperparameters: a dozen arrays of a few
    elements in AdamW's state, each of which costs a step more than its work on a thousand
    parameters.

    Attributes:
      positions: indices of the packed leaves among the leaves of the state.
      shapes: shapes of the packed leaves.
      dtypes: dtypes of the packed leaves, all 32 bits wide.
    """

    positions: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[DTypeLike, ...]

    @classmethod
    def of(cls, state: PyTree, parameters: int) -> "ScalarPacking":
        """Chooses the leaves to pack.

        Args:
          state: arrays or `jax.ShapeDtypeStruct`s.
          parameters: number of parameters of the group.
        """
        leaves = jax.tree_util.tree_leaves_with_path(state)
        small = {i: x for i, (path, x) in enumerate(leaves) if _is_small(path, x, parameters)}
        shapes = tuple(x.shape for x in small.values())
        return cls(tuple(small), shapes, tuple(x.dtype for x in small.values()))

    def pack(self, leaves: Sequence[jax.Array]) -> Arrays:
        """Returns the array of the packed leaves, and then all other leaves."""
        if not self.positions:
            return list(leaves)
        scalars = _pack([leaves[i] for i in self.positions])
        return [scalars, *(x for i, x in enumerate(leaves) if i not in self._offsets)]

    def unpack(self, arrays: Arrays) -> Arrays:
        """Returns all leaves; the reverse of `pack`."""
        if not self.positions:
            return list(arrays)
        scalars, *leaves = arrays
        for i, x in zip(self.positions, _unpack(self, scalars), strict=True):
            leaves.insert(i, x)
        return leaves

    def precompile(self, arrays: Arrays) -> None:
        """Compiles the functions that edit a number, so that no edit compiles anything."""
        if self.positions:
            self.with_number(arrays[0], self.positions[0], 0)
            self.unpack(arrays)

    def with_number(self, scalars: jax.Array, position: int, number: float) -> jax.Array:
        """Returns the packed array with another number for the scalar leaf at `position`."""
        # On the host, so that an edit compiles nothing.
        bits = np.asarray(number, self._dtypes[position]).view(np.int32)
        return _set(scalars, *jax.device_put((np.int32(self._offsets[position]), bits)))

    @functools.cached_property
    def _offsets(self) -> dict[int, int]:
        """Position of a packed leaf -> index of its first element in the packed array."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        return dict(zip(self.positions, [0, *ends[:-1]], strict=True))

    @functools.cached_property
    def _dtypes(self) -> dict[int, DTypeLike]:
        return dict(zip(self.positions, self.dtypes, strict=True))


NO_PACKING = ScalarPacking((), (), ())


def _is_small(path: tuple[object, ...], x: jax.Array, parameters: int) -> bool:
    """Tells whether to pack a leaf: a scalar, or one number for each parameter."""
    names = {getattr(key, "name", None) for key in path}
    # A parameter may have the name of a field of the engine, and be large.
    one_each = x.ndim == 1 and x.size <= parameters and not names.isdisjoint(ENGINE_FIELDS)
    small = x.ndim == 0 or one_each
    weak = getattr(x, "weak_type", False)  # unpacking would make it strongly typed
    return small and not weak and x.dtype in (np.int32, np.uint32, np.float32)


def _bits(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, dtype)


@jax.jit
def _pack(leaves: Sequence[jax.Array]) -> jax.Array:
    return jnp.concatenate([_bits(x, np.int32).reshape(-1) for x in leaves])


@functools.partial(jax.jit, static_argnums=0)
def _unpack(packing: ScalarPacking, scalars: jax.Array) -> Arrays:
    starts = np.cumsum([int(np.prod(shape)) for shape in packing.shapes])[:-1]
    parts = zip(jnp.split(scalars, starts), packing.shapes, packing.dtypes, strict=True)
    return [_bits(x.reshape(shape), dtype) for x, shape, dtype in parts]


@jax.jit
def _set(scalars: jax.Array, index: jax.Array, bits: jax.Array) -> jax.Array:
    return scalars.at[index].set(bits)
