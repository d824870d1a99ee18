"""The small arrays of a state as one: each array more that a step takes costs it time."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.leaves import ENGINE_FIELDS
from ..core.protocol import PyTree

__all__ = ["NO_LEDGER", "Arrays", "Ledger"]

Arrays = list[Any]
"""The leaves of a group's state, in the form in which a step takes them."""


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Which leaves of a state travel as one array of int32, bit by bit.

    Those are the counts, clocks and numbers of its links: a dozen arrays of AdamW's state, of a
    few elements each, each of which costs a step more than its work on a thousand parameters.

    Attributes:
      places: positions among the leaves.
      shapes: of these.
      dtypes: of these, all 32 bits wide.
    """

    places: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, state: PyTree, parameters: int) -> "Ledger":
        """The ledger of a state, of which types are enough, for so many parameters."""
        found = jax.tree_util.tree_leaves_with_path(state)
        small = {i: x for i, (path, x) in enumerate(found) if _is_small(path, x, parameters)}
        shapes = tuple(x.shape for x in small.values())
        return cls(tuple(small), shapes, tuple(x.dtype for x in small.values()))

    def close(self, leaves: Sequence[Any]) -> Arrays:
        """All leaves, with those of the ledger as one array in front."""
        if not self.places:
            return list(leaves)
        entries = _join([leaves[i] for i in self.places])
        return [entries, *(x for i, x in enumerate(leaves) if i not in self._row)]

    def open(self, arrays: Sequence[Any]) -> Arrays:
        """What `close` was given."""
        if not self.places:
            return list(arrays)
        entries, *leaves = arrays
        for i, x in zip(self.places, _part(self, entries), strict=True):
            leaves.insert(i, x)
        return leaves

    def warm(self, arrays: Sequence[Any]) -> None:
        """Compiles what an edit of a number runs, so that none compiles when it is made."""
        if self.places:
            self.with_number(arrays[0], self.places[0], 0)
            self.open(arrays)

    def with_number(self, entries: Any, place: int, number: float) -> jax.Array:
        """The one array with another number at a place, which is a scalar of the ledger."""
        bits = np.asarray(number, self._dtype[place]).view(np.int32)
        return _put(entries, *jax.device_put((np.int32(self._row[place]), bits)))

    @functools.cached_property
    def _row(self) -> dict[int, int]:
        """place -> where its first element stands in the one array."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes]).tolist()
        return dict(zip(self.places, [0, *ends[:-1]], strict=True))

    @functools.cached_property
    def _dtype(self) -> dict[int, Any]:
        return dict(zip(self.places, self.dtypes, strict=True))


NO_LEDGER = Ledger((), (), ())


def _is_small(path: Any, x: Any, parameters: int) -> bool:
    """Whether a leaf of a state may be an entry: a scalar, or one number for each parameter."""
    names = {getattr(key, "name", None) for key in path}
    # A parameter may have the name of a clock, and be large.
    each = x.ndim == 1 and x.size <= parameters and not names.isdisjoint(ENGINE_FIELDS)
    small = x.ndim == 0 or each
    weak = getattr(x, "weak_type", False)  # would be another type when it comes back
    return small and not weak and x.dtype in (np.int32, np.uint32, np.float32)


def _bits(x: Any, dtype: Any) -> jax.Array:
    return jax.lax.bitcast_convert_type(x, dtype)


@jax.jit
def _join(leaves: Sequence[Any]) -> jax.Array:
    return jnp.concatenate([_bits(x, np.int32).reshape(-1) for x in leaves])


@functools.partial(jax.jit, static_argnums=0)
def _part(ledger: Ledger, entries: jax.Array) -> Arrays:
    starts = np.cumsum([int(np.prod(shape)) for shape in ledger.shapes])[:-1]
    parts = zip(jnp.split(entries, starts), ledger.shapes, ledger.dtypes, strict=True)
    return [_bits(x.reshape(shape), dtype) for x, shape, dtype in parts]


@jax.jit
def _put(entries: jax.Array, row: jax.Array, bits: jax.Array) -> jax.Array:
    return entries.at[row].set(bits)
