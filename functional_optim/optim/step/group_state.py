"""The state of a group between its steps."""

from collections.abc import Callable, Mapping, Sequence

import jax
from jax.tree_util import PyTreeDef

from ...core.protocol import PyTree
from ..hyperparams import scalar_like
from .scalar_packing import Arrays
from .state_layout import StateLayout

__all__ = ["GroupState"]


class GroupState:
    """A state, stored in the layout of the last step.

    Flattening a tree of many links at each step would be slow.

    Attributes:
      layout: which leaves of the state each array stores.
      arrays: arrays of the state.
    """

    def __init__(self, leaves: Sequence[jax.Array], treedef: PyTreeDef):
        self.layout = StateLayout.plain(treedef)
        self.arrays: Arrays = list(leaves)

    @classmethod
    def of(cls, state: PyTree) -> "GroupState":
        """Stores a state in the plain layout."""
        return cls(*jax.tree.flatten(state))

    @property
    def treedef(self) -> PyTreeDef:
        """The structure of the state."""
        return self.layout.treedef

    @property
    def state(self) -> PyTree:
        """The state as its transformation made it; reading it does not change the layout."""
        with jax.ensure_compile_time_eval():  # within a trace, the state is a constant
            return jax.tree.unflatten(self.treedef, self.layout.to_leaves(self.arrays))

    def in_layout(self, layout: StateLayout) -> Arrays:
        """Converts the stored arrays to a layout, and returns them."""
        if layout is not self.layout and layout != self.layout:
            # Always convert in this context: its config is part of jit's cache key.
            with jax.ensure_compile_time_eval():
                arrays = layout.from_leaves(self.layout.to_leaves(self.arrays))
                if any(isinstance(x, jax.core.Tracer) for x in arrays):
                    return arrays  # do not store tracers: the optimizer outlives this trace
                layout.scalars.precompile(arrays)
            self.layout, self.arrays = layout, arrays
        return self.arrays

    def edit(self, function: Callable[[PyTree], PyTree]) -> None:
        """Replaces the state by `function(state)`, which has the same structure and types."""
        with jax.ensure_compile_time_eval():
            self.arrays = self.layout.pack(function(self.layout.unpack(self.arrays)))

    def write_scalars(self, numbers: Mapping[int, float]) -> None:
        """Sets scalars, by their indices among the leaves of the state."""
        scalars, stored_positions = self.layout.scalars, self.layout.stored_positions
        if scalars.positions and numbers.keys() <= stored_positions.keys():
            with jax.ensure_compile_time_eval():  # the edit outlives a trace in which it is made
                for i, number in numbers.items():
                    position = stored_positions[i]
                    self.arrays[0] = scalars.with_number(self.arrays[0], position, number)
            return
        # Scalars that are not packed are replaced in the plain layout.
        leaves = self.in_layout(StateLayout.plain(self.treedef))
        for i, number in numbers.items():
            leaves[i] = scalar_like(number, leaves[i])
