"""Leaves of which the states hold the slots stacked, as `packed` makes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..leaf.packing import Group, Packed
from ..leaf.stacking import apart, join
from ..protocol import NoSlot, PyTree
from ..trees.structure import is_absent

__all__ = ["Stacks", "whole_stacks"]

Slots = dict[str, jax.Array]


def whole_stacks(
    slot_trees: Sequence[Mapping[str, Any]], kinds: Mapping[int, Any]
) -> tuple[Group, ...]:
    """Finds the stacks that can be updated as one at this step.

    Args:
      slot_trees: of each rule.
      kinds: what kind of update each leaf has, for those that have a dense one; all leaves of a
        stack must have one, of one kind.
    """
    layouts = list(
        dict.fromkeys(
            x.layout for trees in slot_trees for x in trees.values() if isinstance(x, Packed)
        )
    )
    groups = set(layouts[0].groups)
    for layout in layouts[1:]:
        groups &= set(layout.groups)
    return tuple(
        sorted(g for g in groups if kinds.keys() >= set(g) and len({kinds[i] for i in g}) == 1)
    )


class Stacks:
    """Slots, updates and parameters of the stacks that are updated as one.

    Args:
      groups: the stacks.
      slot_trees: of each rule, some of them packed.
      columns: of each rule, per slot what each leaf has of it; unpacked here, where a stack is
        not updated as one.
    """

    def __init__(
        self,
        groups: tuple[Group, ...],
        slot_trees: Sequence[Mapping[str, Any]],
        columns: Sequence[dict[str, list[Any]]],
    ):
        for trees, by_slot in zip(slot_trees, columns, strict=True):
            for k, x in trees.items():
                if isinstance(x, Packed):
                    by_slot[k] = x.leaves(groups)
        self.slots = {
            group: tuple(
                {
                    k: _stack(trees[k], column, group)
                    for k, column in by_slot.items()
                    if not is_absent(column[group[0]])
                }
                for trees, by_slot in zip(slot_trees, columns, strict=True)
            )
            for group in groups
        }

    @staticmethod
    def stacked(values: Sequence[Any], group: Group) -> jax.Array:
        """Updates or parameters of a stack, along a new first axis."""
        return join([jnp.asarray(values[i]) for i in group])

    @staticmethod
    def unstacked(stack: jax.Array) -> Sequence[jax.Array]:
        """Returns the arrays of a stack."""
        return apart(stack)

    def rebuild(self, rule: int, slot: str, old: Any, column: list[Any], treedef: Any) -> PyTree:
        """Makes the tree of a slot, packed where the old one was."""
        stacks = {group: slots[rule].get(slot, NoSlot()) for group, slots in self.slots.items()}
        if isinstance(old, Packed):
            return Packed.of(old.layout, column, stacks)
        for group, stack in stacks.items():
            for i, x in zip(group, [] if is_absent(stack) else apart(stack), strict=False):
                column[i] = x
        return treedef.unflatten(column)


def _stack(tree: Any, column: list[Any], group: Group) -> Any:
    return tree.stack(group) if isinstance(tree, Packed) else join([column[i] for i in group])
