"""Slots of small leaves, stacked: one array for all leaves of one shape."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jax.tree_util import PyTreeDef

from ..protocol import NoSlot, PyTree
from ..state import KeyPath
from ..trees.structure import is_absent, key_paths
from .stacking import KERNEL_OUTPUTS, stack_arrays, unstack_array

__all__ = [
    "Group",
    "Layout",
    "MAX_PACKED_SIZE",
    "MIN_STACKED",
    "Packed",
    "as_tree",
    "is_packed",
    "pack",
    "packed_like",
    "stack_trees",
    "stacked_array_ids",
    "unpacked",
]

Array = jax.Array
SlotLeaf = jax.Array | jax.ShapeDtypeStruct | NoSlot
"""A leaf of a slot; its shape and dtype where the array is not needed, or `NoSlot`."""

Group = tuple[int, ...]
"""Indices of leaves that are stacked, in ascending order."""

MIN_STACKED = 4
"""The smallest number of leaves that are stacked: with fewer, too little is saved.

XLA on CPU compiles an elementwise loop that differs from all others in 17 ms, and the loops that
stack and unstack in up to 28 ms: longer than the products of a second and third leaf.
"""

MAX_PACKED_SIZE = 2048
"""The largest size of a packed leaf: stacking larger ones costs more than it saves."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which leaves of a tree are stacked.

    Attributes:
      treedef: structure of the tree.
      groups: the leaves of each stack.
    """

    treedef: PyTreeDef
    groups: tuple[Group, ...]

    @functools.cached_property
    def rest(self) -> Group:
        """Indices of the leaves that are not stacked."""
        grouped = {i for group in self.groups for i in group}
        return tuple(i for i in range(self.treedef.num_leaves) if i not in grouped)

    @functools.cached_property
    def paths(self) -> list[KeyPath]:
        """Key path of each leaf."""
        return [path for path, _ in key_paths(self._tree_of_indices)]

    @property
    def _tree_of_indices(self) -> PyTree:
        return self.treedef.unflatten(range(self.treedef.num_leaves))

    def __reduce__(self) -> tuple[object, ...]:
        # A treedef with nodes of other libraries does not pickle; a tree does.
        return _layout, (self._tree_of_indices, self.groups)


def _layout(tree: PyTree, groups: tuple[Group, ...]) -> Layout:
    """Makes an unpickled layout from a tree, whose structure it has."""
    return Layout(jax.tree.structure(tree), groups)


# Compares by identity, because `==` of arrays is an array.
@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A slot of all leaves of a tree; some leaves are stacked.

    A pytree node. `serialization` saves each leaf under the name of its parameter.

    Attributes:
      stacks: for each group of the layout, the arrays of its leaves along a new first axis.
      rest: the arrays of the other leaves.
      layout: which leaf is where.
      axes: for each stack, the axis of its leaves, counted from the end, because vmap inserts
        axes in front.
    """

    # Arrays, or whatever `jax.tree.map` puts in their place.
    stacks: tuple[Any, ...]
    rest: tuple[Any, ...]
    layout: Layout
    axes: tuple[int, ...]

    @classmethod
    def of(cls, layout: Layout, leaves: Sequence[Any], stacks: Mapping[Group, Any]) -> "Packed":
        """Packs the leaves; `stacks` has the groups that are stacked already."""
        arrays = [
            stacks[k] if k in stacks else _stack([leaves[i] for i in k]) for k in layout.groups
        ]
        axes = tuple(0 if is_absent(x) else -x.ndim for x in arrays)  # axis 0, from the end
        return cls(tuple(arrays), tuple(leaves[i] for i in layout.rest), layout, axes)

    def stack(self, group: Group) -> Any:
        """Returns the stacked arrays of a group of the layout."""
        return self.stacks[self.layout.groups.index(group)]

    def leaves(self, shapes_only: Sequence[Group] = ()) -> list[SlotLeaf]:
        """Returns each leaf of the tree; for the groups in `shapes_only`, its shape and dtype."""
        leaves: list[SlotLeaf] = [NoSlot()] * self.layout.treedef.num_leaves
        for i, x in zip(self.layout.rest, self.rest, strict=True):
            leaves[i] = x
        for group, stack, axis in zip(self.layout.groups, self.stacks, self.axes, strict=True):
            if is_absent(stack):
                continue
            # Only shapes where the caller will not read the arrays: slices that nobody reads would
            # still be traced and compiled.
            parts: Sequence[SlotLeaf] = [_leaf_shape(stack, axis)] * len(group)
            if group not in shapes_only and not isinstance(stack, jax.ShapeDtypeStruct):
                # vmap may have put other axes in front of the leaves'.
                parts = _unstack(jnp.moveaxis(stack, axis, 0))
            for i, part in zip(group, parts, strict=True):
                leaves[i] = part
        return leaves

    def __repr__(self) -> str:
        return f"Packed(stacks={self.stacks!r}, rest={self.rest!r})"


jax.tree_util.register_dataclass(Packed, ["stacks", "rest"], ["layout", "axes"])


def is_packed(x: object) -> bool:
    """Tells whether x is a slot with stacked leaves."""
    return isinstance(x, Packed)


def as_tree(slot: PyTree) -> PyTree:
    """Returns a slot as a tree shaped like the parameters; stacked leaves as shapes and dtypes."""
    if not isinstance(slot, Packed):
        return slot
    return slot.layout.treedef.unflatten(slot.leaves(slot.layout.groups))


def unpacked(state: PyTree) -> PyTree:
    """Unstacks the slots that `packed` stacks: each slot is then shaped like the parameters.

    Args:
      state: any tree; one without stacked slots is returned unchanged.

    Example:
      >>> import functional_optim as fo
      >>> params = {"a": [jnp.ones(2) for _ in range(5)], "b": jnp.ones(3)}
      >>> state = fo.packed(fo.trace(0.9)).init(params)
      >>> jax.tree.map(jnp.shape, state.trace)
      Packed(stacks=((5, 2),), rest=((3,),))
      >>> jax.tree.map(jnp.shape, fo.unpacked(state).trace)
      {'a': [(2,), (2,), (2,), (2,), (2,)], 'b': (3,)}
    """
    return jax.tree.map(
        lambda x: x.layout.treedef.unflatten(x.leaves()) if is_packed(x) else x,
        state,
        is_leaf=is_packed,
    )


def packed_like(template: PyTree, state: PyTree) -> PyTree:
    """Packs a tree as the template is packed; the inverse of `unpacked`."""

    def pack_slot(slot_template: PyTree, slot: PyTree) -> PyTree:
        if not isinstance(slot_template, Packed):
            return slot
        layout = slot_template.layout
        return Packed.of(layout, layout.treedef.flatten_up_to(slot), {})

    return jax.tree.map(pack_slot, template, state, is_leaf=is_packed)


def stacked_array_ids(state: PyTree) -> set[int]:
    """Returns the `id` of each array of a state that is a stack of several leaves."""
    nodes = jax.tree.leaves(state, is_leaf=is_packed)
    return {id(x) for node in nodes if is_packed(node) for x in jax.tree.leaves(node.stacks)}


def pack(
    treedef: PyTreeDef, params: Sequence[Array], slots: Mapping[str, Sequence[Any]], max_size: int
) -> dict[str, PyTree]:
    """Makes trees of the slots; leaves of equal shape are stacked where that saves time.

    A stack has leaves of at most `max_size` elements that are equal in shape and dtype, and whose
    slots are too. It has at most 32 leaves, so that it stays in the processor's cache during a
    step, and several stacks share kernels. Shardings do not decide, because a compiled
    `init` does not know them, and the structure of the state must not depend on compilation.

    Args:
      treedef: structure of the parameters.
      params: the parameters.
      slots: slot -> array of each leaf, or `NoSlot`.
      max_size: the largest number of elements of a leaf that is stacked.
    """
    # A step computes a whole stack in one call, so all arrays that the maths reads must be equal in
    # shape and dtype, and on the same devices.
    by_kind: dict[Hashable, list[int]] = defaultdict(list)
    for i, p in enumerate(params):
        if p.size <= max_size:
            slot_kinds = tuple(_shape_and_dtype(column[i]) for column in slots.values())
            by_kind[_shape_and_dtype(p), slot_kinds, _committed_devices(p)].append(i)
    chunks = (
        indices[i : i + KERNEL_OUTPUTS]
        for indices in by_kind.values()
        for i in range(0, len(indices), KERNEL_OUTPUTS)
    )
    groups = tuple(tuple(chunk) for chunk in chunks if len(chunk) >= MIN_STACKED)
    # Without a stack, plain trees are what other code expects.
    if not groups or not slots:
        return {k: treedef.unflatten(column) for k, column in slots.items()}
    layout = Layout(treedef, groups)
    return {k: Packed.of(layout, column, {}) for k, column in slots.items()}


def stack_trees(trees: Sequence[PyTree], group: Group) -> PyTree:
    """Stacks the trees of a group of leaves into one tree."""
    return jax.tree.map(lambda *xs: stack_arrays(xs), *(trees[i] for i in group))


def _shape_and_dtype(x: Any) -> Hashable:
    return None if is_absent(x) else (jnp.shape(x), x.dtype)


def _leaf_shape(stack: Array, axis: int) -> jax.ShapeDtypeStruct:
    """Returns the shape and dtype of one leaf of a stack, whose leaves are along `axis`."""
    axis %= len(stack.shape)
    return jax.ShapeDtypeStruct(stack.shape[:axis] + stack.shape[axis + 1 :], stack.dtype)


def _committed_devices(x: Array) -> frozenset[jax.Device] | None:
    """Returns the devices of a committed array: arrays on different devices cannot be stacked."""
    if isinstance(x, jax.core.Tracer) or not getattr(x, "committed", False):
        return None
    return frozenset(x.sharding.device_set)


_jitted_stack = jax.jit(lambda arrays: stack_arrays(arrays))
_jitted_unstack = jax.jit(lambda stack: unstack_array(stack))


def _unstack(stack: Array) -> Sequence[Array]:
    # Outside of a trace each operation would be dispatched separately, so it is jitted.
    return unstack_array(stack) if isinstance(stack, jax.core.Tracer) else _jitted_unstack(stack)


def _stack(arrays: Sequence[Any]) -> Any:
    """Stacks the arrays of a group and keeps their sharding; returns a `NoSlot` unchanged."""
    first = arrays[0]
    if is_absent(first):
        return first
    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        return stack_arrays(arrays)
    stack = _jitted_stack(list(arrays))
    return jax.device_put(stack, _common_sharding(arrays)) if first.committed else stack


def _common_sharding(arrays: Sequence[Array]) -> Sharding | None:
    """Returns the sharding of a stack of these arrays, on the devices that they share."""
    shardings = {x.sharding for x in arrays}
    first = arrays[0].sharding
    # Only a `NamedSharding` says how the axes are divided, so that an axis can be added in front.
    if not isinstance(first, NamedSharding):
        return first if len(first.device_set) == 1 else None
    # Leaves that are sharded in different ways have a replicated stack.
    spec = first.spec if len(shardings) == 1 else ()
    return NamedSharding(first.mesh, PartitionSpec(None, *spec))
