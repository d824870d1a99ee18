"""One group as the optimizer keeps it: what the user sees, its transformation, its state."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from ..core.numbers import Interval
from ..core.protocol import GradientTransformation, PyTree
from ..core.renumber import Parked
from .ledger import Held
from .param_group import ParamGroup
from .plain import is_plain_number

__all__ = ["Group", "Place"]


class Place(NamedTuple):
    """Where a number of an option stands in a state.

    Attributes:
      part: its position in an option that is a tuple, else None.
      leaf: its position among the leaves of the state.
      interval: where it must lie.
    """

    part: int | None
    leaf: int
    interval: Interval | None


@dataclasses.dataclass
class Group:
    """A group of parameters.

    The state is held as its leaves, in the form that a step takes: flattening a tree of many
    links is slow.

    Attributes:
      options: parameters and options, as the user sees and edits them.
      tx: its transformation; the numbers in its init may be older than the state's.
      held: the leaves of the state.
      treedef: of the state.
      places: option -> its numbers in the state, for options that go there as they are.
      present: options that have been on, and so keep their slot.
      parked: slots that the options have no use for now.
    """

    options: ParamGroup
    tx: GradientTransformation
    held: Held
    treedef: Any
    places: Mapping[str, tuple[Place, ...]] = dataclasses.field(default_factory=dict)
    present: frozenset[str] = frozenset()
    parked: Parked = dataclasses.field(default_factory=dict)

    @property
    def state(self) -> PyTree:
        """The state of the transformation."""
        return self.treedef.unflatten(self.held.leaves)

    @state.setter
    def state(self, state: PyTree) -> None:
        leaves, self.treedef = jax.tree.flatten(state)
        self.held = Held(leaves)

    @property
    def params(self) -> PyTree:
        """The group's tree of parameters."""
        return self.options["params"]

    def write_numbers(self) -> bool:
        """Writes edited numbers to their places; False, and nothing done, if that is not all."""
        numbers: dict[int, float] = {}
        for key in self.options.edited:
            found = self._written(key)
            if found is None:
                return False
            numbers.update(found)
        self.held.write(numbers)
        return True

    def _written(self, key: str) -> list[tuple[int, float]] | None:
        """The leaves that an edited option sets, or None if it is not simply numbers."""
        value, places = self.options[key], self.places.get(key)
        parts = dict(_parts(value))
        if places is None or parts.keys() != {place.part for place in places}:
            return None
        new = [(place.leaf, parts[place.part], place.interval) for place in places]
        if not all(is_plain_number(v) and (i is None or v in i) for _, v, i in new):
            return None
        return [(index, v) for index, v, _ in new]

    def __getstate__(self) -> dict[str, Any]:
        fields = {k: v for k, v in self.__dict__.items() if k not in ("held", "treedef")}
        return {**fields, "state": self.state}  # a treedef does not pickle

    def __setstate__(self, fields: dict[str, Any]) -> None:
        for k, v in fields.items():
            setattr(self, k, v)


def _parts(value: Any) -> Iterator[tuple[int | None, Any]]:
    """The numbers of an option: several where it is a tuple."""
    if isinstance(value, tuple):
        yield from enumerate(value)
    else:
        yield None, value
