"""One group of an optimizer: its parameters and options, its transformation, its state."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple

import jax

from ...core.numerics.validation import Interval
from ...core.protocol import GradientTransformation, Hyperparameter, PyTree
from ...transforms.leaf_counts import per_leaf_counts
from ..conversions import is_plain_number
from ..hyperparams import DormantSlots
from ..params.param_group import ParamGroup
from .group_state import GroupState
from .leaf_counts import with_leaf_counts

__all__ = ["OptimizerGroup", "StatePosition"]


class StatePosition(NamedTuple):
    """The scalar of a state that has the value of an option, or of one of its parts.

    Attributes:
      part: index of the part in an option that is a tuple, else None.
      leaf: index of the scalar among the leaves of the state.
      interval: the values that the scalar may have.
    """

    part: int | None
    leaf: int
    interval: Interval | None


@dataclasses.dataclass
class OptimizerGroup:
    """A group of parameters.

    Attributes:
      options: parameters and options, as the user sees and edits them.
      tx: its transformation; the hyperparameters in its init may be older than the state's.
      stored: its state, in the layout of the last step.
      positions: option -> its scalars in the state, for options whose values are written there
        unchanged.
      activated: options that once had a value other than 0, so that their slots are kept.
      dormant_slots: slots that the present options do not use.
      loaded: indices of the parameters that had an entry in the state that was loaded last.
      counts_leaves: whether each parameter has a separate count, because some have had fewer
        updates than others.
    """

    options: ParamGroup
    tx: GradientTransformation
    stored: GroupState
    positions: Mapping[str, tuple[StatePosition, ...]] = dataclasses.field(default_factory=dict)
    activated: frozenset[str] = frozenset()
    dormant_slots: DormantSlots = dataclasses.field(default_factory=dict)
    loaded: frozenset[int] = frozenset()
    counts_leaves: bool = False

    @property
    def state(self) -> PyTree:
        """The state of the transformation."""
        return self.stored.state

    @state.setter
    def state(self, state: PyTree) -> None:
        self.stored = GroupState.of(state)

    @property
    def params(self) -> PyTree:
        """The group's tree of parameters."""
        return self.options["params"]

    def count_leaves(self) -> None:
        """Gives each parameter a separate count."""
        before = self.state
        with jax.ensure_compile_time_eval():  # the state outlives a trace, if there is one
            self.state = with_leaf_counts(self.tx, self.params, before)
        self.tx, self.counts_leaves = per_leaf_counts(self.tx), True
        paths = _leaf_paths(before)
        indices = {path: i for i, path in enumerate(_leaf_paths(self.state))}
        self.positions = {
            option: tuple(p._replace(leaf=indices[paths[p.leaf]]) for p in positions)
            for option, positions in self.positions.items()
        }

    def write_edits(self) -> bool:
        """Writes edited numbers into the state; returns False if an edit is not a plain number."""
        numbers: dict[int, float] = {}
        for key in self.options.edited:
            scalars = self._scalars_of(key)
            if scalars is None:
                return False
            numbers.update(scalars)
        self.stored.write_scalars(numbers)
        return True

    def _scalars_of(self, key: str) -> list[tuple[int, float]] | None:
        """Returns the leaves that an edited option sets, or None if it is not plain numbers."""
        value, positions = self.options[key], self.positions.get(key)
        parts = dict(_parts(value))
        if positions is None or parts.keys() != {position.part for position in positions}:
            return None
        new = [(p.leaf, parts[p.part], p.interval) for p in positions]
        # Arrays and values out of range take the slow path, which raises the errors.
        if not all(is_plain_number(v) and (i is None or v in i) for _, v, i in new):
            return None
        return [(leaf, v) for leaf, v, _ in new]

    def __getstate__(self) -> dict[str, object]:
        fields = {k: v for k, v in self.__dict__.items() if k != "stored"}
        return {**fields, "state": self.state}  # a treedef does not pickle

    def __setstate__(self, fields: dict[str, object]) -> None:
        for k, v in fields.items():
            setattr(self, k, v)


def _leaf_paths(tree: PyTree) -> list[Hashable]:
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _parts(value: Hyperparameter) -> Iterator[tuple[int | None, Hyperparameter]]:
    """Yields the value of an option, or the parts of a tuple with their indices."""
    if isinstance(value, tuple):
        yield from enumerate(value)
    else:
        yield None, value
