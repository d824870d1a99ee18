"""Slots of small leaves, held together: one array for all of one shape."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ..protocol import NoSlot, PyTree
from ..trees.structure import is_absent, key_paths
from .stacking import FEW, apart, join

__all__ = [
    "Group",
    "Layout",
    "Packed",
    "SMALL",
    "as_tree",
    "held_together",
    "is_packed",
    "joined",
    "pack",
    "packed_like",
    "unpacked",
]

Array = jax.Array
Path = tuple[Any, ...]
Group = tuple[int, ...]
"""Numbers of leaves that are held together, in ascending order."""

FEWEST = 4
"""Leaves that are worth being held together."""

SMALL = 2048
"""Leaves with more elements than this are not packed: stacking them costs more than it saves."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which leaves of a tree are held together.

    Attributes:
      treedef: structure of the tree.
      groups: the leaves that are.
    """

    treedef: Any
    groups: tuple[Group, ...]

    @functools.cached_property
    def rest(self) -> Group:
        """The leaves that are not."""
        grouped = {i for group in self.groups for i in group}
        return tuple(i for i in range(self.treedef.num_leaves) if i not in grouped)

    @functools.cached_property
    def paths(self) -> list[Path]:
        """Key path of each leaf."""
        return [path for path, _ in key_paths(self._numbers)]

    @property
    def _numbers(self) -> PyTree:
        return self.treedef.unflatten(range(self.treedef.num_leaves))

    def __reduce__(self) -> tuple[Any, ...]:
        return _layout, (self._numbers, self.groups)  # a treedef of foreign nodes does not pickle


def _layout(numbers: PyTree, groups: tuple[Group, ...]) -> Layout:
    return Layout(jax.tree.structure(numbers), groups)


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A slot of all leaves of a tree, of which some are held together.

    A pytree node. `serialization` knows it: what is saved has a name for each parameter.

    Attributes:
      stacks: for each group of the layout, the arrays of its leaves along a new first axis.
      rest: the arrays of the other leaves.
      layout: which leaf is where.
      axes: for each stack, which axis counts its leaves, from behind: vmap puts others in front.
    """

    stacks: tuple[Any, ...]
    rest: tuple[Any, ...]
    layout: Layout
    axes: tuple[int, ...]

    @classmethod
    def of(cls, layout: Layout, leaves: Sequence[Any], stacks: Mapping[Group, Any]) -> "Packed":
        """Packs the leaves; of the groups that are in `stacks`, what is there."""
        made = [stacks[k] if k in stacks else _stack([leaves[i] for i in k]) for k in layout.groups]
        axes = tuple(0 if is_absent(x) else -x.ndim for x in made)
        return cls(tuple(made), tuple(leaves[i] for i in layout.rest), layout, axes)

    def stack(self, group: Group) -> Any:
        """Returns the arrays of a group of the layout."""
        return self.stacks[self.layout.groups.index(group)]

    def leaves(self, whole: Sequence[Group] = ()) -> list[Any]:
        """Returns each leaf of the tree; for the groups in `whole`, only shape and dtype."""
        found: list[Any] = [NoSlot()] * self.layout.treedef.num_leaves
        for i, x in zip(self.layout.rest, self.rest, strict=True):
            found[i] = x
        for group, stack, axis in zip(self.layout.groups, self.stacks, self.axes, strict=True):
            if is_absent(stack):
                continue
            parts: Sequence[Any] = [_part_type(stack, axis)] * len(group)
            if group not in whole and not isinstance(stack, jax.ShapeDtypeStruct):
                parts = _apart(jnp.moveaxis(stack, axis, 0))
            for i, x in zip(group, parts, strict=True):
                found[i] = x
        return found

    def __repr__(self) -> str:
        return f"Packed(stacks={self.stacks!r}, rest={self.rest!r})"


jax.tree_util.register_dataclass(Packed, ["stacks", "rest"], ["layout", "axes"])


def is_packed(x: Any) -> bool:
    """Tells whether x is a slot with stacked leaves."""
    return isinstance(x, Packed)


def as_tree(slot: Any) -> PyTree:
    """Returns a slot as a tree shaped like the parameters; stacked leaves as shapes and dtypes."""
    if not is_packed(slot):
        return slot
    return slot.layout.treedef.unflatten(slot.leaves(slot.layout.groups))


def unpacked(state: PyTree) -> PyTree:
    """Takes apart what `packed` holds together: the state with all slots shaped as the parameters.

    Args:
      state: any tree; one that holds nothing together is returned as it is.

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
    """Packs a tree as the template is packed; the reverse of `unpacked`."""

    def like(own: Any, slot: PyTree) -> PyTree:
        if not is_packed(own):
            return slot
        return Packed.of(own.layout, own.layout.treedef.flatten_up_to(slot), {})

    return jax.tree.map(like, template, state, is_leaf=is_packed)


def held_together(state: PyTree) -> set[int]:
    """Identities of the arrays that hold a slot of several leaves."""
    nodes = jax.tree.leaves(state, is_leaf=is_packed)
    return {id(x) for node in nodes if is_packed(node) for x in jax.tree.leaves(node.stacks)}


def pack(
    treedef: Any, params: Sequence[Any], slots: Mapping[str, Sequence[Any]], max_size: int
) -> dict[str, PyTree]:
    """Makes trees of the slots, given by name and then by leaf; packed where leaves can be stacked.

    Leaves are held together that have at most `max_size` elements and are equal in shape and
    dtype, as are their slots: 32 at most, so that what a step reads and writes of them stays in
    the processor's cache, and groups share kernels. How they are sharded is not asked: in a
    compiled `init` it is not known, and the structure of the state must not depend on that.
    """
    found: dict[Any, list[int]] = defaultdict(list)
    for i, p in enumerate(params):
        if p.size <= max_size:
            own = tuple(_type_of(column[i]) for column in slots.values())
            found[_type_of(p), own, _devices(p)].append(i)
    parts = (own[i : i + FEW] for own in found.values() for i in range(0, len(own), FEW))
    groups = tuple(tuple(part) for part in parts if len(part) >= FEWEST)
    if not groups or not slots:
        return {k: treedef.unflatten(column) for k, column in slots.items()}
    layout = Layout(treedef, groups)
    return {k: Packed.of(layout, column, {}) for k, column in slots.items()}


def joined(trees: Sequence[PyTree], group: Group) -> PyTree:
    """Stacks the trees of some leaves into one."""
    return jax.tree.map(lambda *xs: join(xs), *(trees[i] for i in group))


def _type_of(x: Any) -> Any:
    return None if is_absent(x) else (jnp.shape(x), x.dtype)


def _part_type(stack: Any, axis: int) -> jax.ShapeDtypeStruct:
    axis %= len(stack.shape)
    return jax.ShapeDtypeStruct(stack.shape[:axis] + stack.shape[axis + 1 :], stack.dtype)


def _devices(x: Any) -> Any:
    """Returns the devices of a committed array: arrays on different devices cannot be stacked."""
    if isinstance(x, jax.core.Tracer) or not getattr(x, "committed", False):
        return None
    return frozenset(x.sharding.device_set)


_jitted_join = jax.jit(lambda arrays: join(arrays))
_jitted_apart = jax.jit(lambda stack: apart(stack))


def _apart(stack: Array) -> Sequence[Array]:
    return apart(stack) if isinstance(stack, jax.core.Tracer) else _jitted_apart(stack)


def _stack(arrays: Sequence[Any]) -> Any:
    """Arrays joined, sharded as all of them are; what stands for absent ones stays."""
    first = arrays[0]
    if is_absent(first):
        return first
    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        return join(arrays)
    stack = _jitted_join(list(arrays))
    return jax.device_put(stack, _common(arrays)) if first.committed else stack


def _common(arrays: Sequence[Array]) -> Any:
    """Returns the sharding of a stack of these arrays, on the devices that they share."""
    found = {x.sharding for x in arrays}
    first = arrays[0].sharding
    if not isinstance(first, NamedSharding):
        return first if len(first.device_set) == 1 else None
    spec = first.spec if len(found) == 1 else ()
    return NamedSharding(first.mesh, PartitionSpec(None, *spec))
