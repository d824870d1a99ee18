"""Leaves that are updated together: their slots are stacked, by `packed` or for one step."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
from jax.tree_util import PyTreeDef

from ..leaf.packing import MIN_STACKED, Group, Packed
from ..leaf.stacking import stack_arrays, unstack_array
from ..protocol import Arrays, PyTree
from ..trees.structure import is_absent

__all__ = ["equal_leaves", "slot_tree", "stack_slots", "whole_stacks"]


def whole_stacks(
    slot_trees: Sequence[Mapping[str, PyTree]], kinds: Mapping[int, Hashable]
) -> tuple[Group, ...]:
    """Finds the stacks whose leaves can be updated together at this step.

    Args:
      slot_trees: for each rule, its slots.
      kinds: index of each leaf with a dense update -> shape and dtypes of the update. All leaves
        of a stack must have an update of one kind.
    """
    layouts = list(
        dict.fromkeys(
            x.layout for trees in slot_trees for x in trees.values() if isinstance(x, Packed)
        )
    )
    # Only groups that all packed slots have, because one call computes all slots of a stack.
    groups = set(layouts[0].groups)
    for layout in layouts[1:]:
        groups &= set(layout.groups)
    return tuple(
        sorted(g for g in groups if kinds.keys() >= set(g) and len({kinds[i] for i in g}) == 1)
    )


def equal_leaves(kinds: Mapping[int, Hashable]) -> tuple[Group, ...]:
    """Groups the leaves of one kind; fewer than `MIN_STACKED` are in no group."""
    groups: dict[Hashable, list[int]] = {}
    for i, kind in kinds.items():
        groups.setdefault(kind, []).append(i)
    return tuple(tuple(group) for group in groups.values() if len(group) >= MIN_STACKED)


def stack_slots(
    groups: tuple[Group, ...],
    slot_trees: Sequence[Mapping[str, PyTree]],
    columns: Sequence[dict[str, list[Any]]],
) -> dict[Group, tuple[Arrays, ...]]:
    """Stacks the slots of the leaves that are updated together.

    Args:
      groups: the stacks.
      slot_trees: for each rule, its slots, packed or not.
      columns: for each rule and slot, the slot of each leaf. These lists are changed: a packed leaf
        that is in none of the groups gets its unstacked slot.

    Returns:
      For each stack, the slots of each rule.
    """
    for trees, by_slot in zip(slot_trees, columns, strict=True):
        for k, x in trees.items():
            if isinstance(x, Packed):
                by_slot[k] = x.leaves(groups)
    return {
        group: tuple(
            {
                k: _stack(trees[k], column, group)
                for k, column in by_slot.items()
                # Leaves of a group are of one kind: all have the slot, or none.
                if not is_absent(column[group[0]])
            }
            for trees, by_slot in zip(slot_trees, columns, strict=True)
        )
        for group in groups
    }


def _stack(tree: PyTree, column: list[Any], group: Group) -> jax.Array:
    return (
        tree.stack(group) if isinstance(tree, Packed) else stack_arrays([column[i] for i in group])
    )


def slot_tree(
    old: PyTree, column: list[Any], stacks: Mapping[Group, Any], treedef: PyTreeDef
) -> PyTree:
    """Makes the tree of a slot, packed where the old one was.

    Args:
      old: the slot before the update.
      column: the slot of each leaf that is not in a stack.
      stacks: the slot of each stack.
      treedef: structure of the tree.
    """
    if isinstance(old, Packed):
        return Packed.of(old.layout, column, stacks)
    # The leaves of an unpacked slot were stacked for this step only.
    for group, stack in stacks.items():
        for i, x in zip(group, [] if is_absent(stack) else unstack_array(stack), strict=False):
            column[i] = x
    return treedef.unflatten(column)
