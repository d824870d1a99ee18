"""The layout in which a state is stored between steps: as few arrays as possible."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from ...core.leaf.packing import (
    MAX_PACKED_SIZE,
    MIN_STACKED,
    is_packed,
    packed_like,
    unpacked,
)
from ...core.protocol import GradientTransformation, PyTree, TransformUpdateFn
from ...core.rules.bound_rule import ENGINE_FIELDS
from ...transforms.packing import packing
from .scalar_packing import NO_PACKING, Arrays, ScalarPacking

__all__ = ["StateLayout"]


@dataclasses.dataclass(frozen=True)
class StateLayout:
    """Which arrays store the leaves of a state.

    Each array argument of a step adds dispatch time. So the slots of small parameters are
    stacked, as by `packed`, and counts, carried scalars and hyperparameters are one array.

    Attributes:
      treedef: structure of the state as its transformation made it.
      stored_treedef: structure of the state with stacked slots.
      scalars: which leaves of the stored state are packed into one array.
    """

    treedef: PyTreeDef
    stored_treedef: PyTreeDef
    scalars: ScalarPacking = NO_PACKING

    @classmethod
    def plain(cls, treedef: PyTreeDef) -> "StateLayout":
        """Returns the layout in which each leaf of the state is a separate array."""
        return cls(treedef, treedef)

    @classmethod
    def of(cls, tx: GradientTransformation, params: PyTree, state: PyTree) -> "StateLayout":
        """Chooses the layout of a state; the plain one for tracers, or on several devices."""
        treedef = jax.tree.structure(state)
        if not _on_one_device(jax.tree.leaves((params, state))):
            return cls.plain(treedef)
        stored = _with_stacked_slots(tx, params, state)
        parameters = len(jax.tree.leaves(params, is_leaf=lambda x: x is None))
        return cls(treedef, jax.tree.structure(stored), ScalarPacking.of(stored, parameters))

    def update_of(self, tx: GradientTransformation) -> TransformUpdateFn:
        """Returns the `update` of a transformation, for states with stacked slots."""
        # The update of a wrapper may call init, whose slots must be stacked as well.
        return tx.update if self._is_unstacked else packing(tx.update, MAX_PACKED_SIZE)[0]

    def unpack(self, arrays: Arrays) -> PyTree:
        """Returns the state, with stacked slots, that a step passes to the transformation."""
        return jax.tree.unflatten(self.stored_treedef, self.scalars.unpack(arrays))

    def pack(self, state: PyTree) -> Arrays:
        """Returns the arrays of a state with stacked slots; the reverse of `unpack`."""
        return self.scalars.pack(jax.tree.leaves(state))

    def to_leaves(self, arrays: Arrays) -> Arrays:
        """Returns the leaves of the state as its transformation made it."""
        state = self.unpack(arrays)
        return jax.tree.leaves(state if self._is_unstacked else unpacked(state))

    def from_leaves(self, leaves: Sequence[jax.Array]) -> Arrays:
        """Returns the arrays that store these leaves; the reverse of `to_leaves`."""
        if self._is_unstacked:
            return self.scalars.pack(leaves)
        return self.pack(packed_like(self._template, jax.tree.unflatten(self.treedef, leaves)))

    @functools.cached_property
    def stored_positions(self) -> Mapping[int, int]:
        """Index of each packed scalar among the leaves -> its index among the stored leaves."""
        indices = jax.tree.unflatten(self.treedef, range(self.treedef.num_leaves))

        def index(stored: PyTree, leaf_index: PyTree) -> PyTree:
            # Stacked slots are not scalars, and need no position.
            return jax.tree.map(lambda _: -1, stored) if is_packed(stored) else leaf_index

        stored_indices = jax.tree.map(index, self._template, indices, is_leaf=is_packed)
        positions = jax.tree.leaves(stored_indices)
        return {positions[i]: i for i in self.scalars.positions if positions[i] >= 0}

    @property
    def _is_unstacked(self) -> bool:
        return bool(self.stored_treedef == self.treedef)

    @property
    def _template(self) -> PyTree:
        return jax.tree.unflatten(self.stored_treedef, range(self.stored_treedef.num_leaves))


def _on_one_device(arrays: Arrays) -> bool:
    """Tells whether all arrays are concrete, and in one memory of one device."""
    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        return False
    shardings = [x.sharding for x in arrays if isinstance(x, jax.Array)]
    return len({(d, s.memory_kind) for s in shardings for d in s.device_set}) <= 1


def _with_stacked_slots(tx: GradientTransformation, params: PyTree, state: PyTree) -> PyTree:
    """Returns the state, with shapes and dtypes in the place of the slots that are stacked."""
    init, any_packed = packing(tx.init, MAX_PACKED_SIZE)
    if not any_packed or not _has_equal_slots(state):
        return state
    try:
        template = jax.eval_shape(init, params)
    except Exception:  # a foreign init that cannot be traced
        return state
    # A state of other types, such as one of a foreign init, is not stacked.
    if _types(unpacked(template)) != _types(state):
        return state
    return jax.tree.map(lambda t, x: t if is_packed(t) else x, template, state, is_leaf=is_packed)


def _has_equal_slots(state: PyTree) -> bool:
    """Tells whether there are enough equal slots for a stack; if not, init need not be traced."""
    kinds = Counter(
        (jnp.shape(x), getattr(x, "dtype", None))
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if not any(getattr(key, "name", None) in ENGINE_FIELDS for key in path)
    )
    return max(kinds.values(), default=0) >= MIN_STACKED


def _types(tree: PyTree) -> tuple[object, ...]:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(x.shape, x.dtype) for x in leaves]
