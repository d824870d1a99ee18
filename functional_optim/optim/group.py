"""One group as the optimizer keeps it: what the user sees, its transformation, its state."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..core.numbers import Interval
from ..core.protocol import GradientTransformation, PyTree
from ..core.renumber import Parked
from .held import Held
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

    Attributes:
      options: parameters and options, as the user sees and edits them.
      tx: its transformation; the numbers in its init may be older than the state's.
      held: its state.
      places: option -> its numbers in the state, for options that go there as they are.
      present: options that have been on, and so keep their slot.
      parked: slots that the options have no use for now.
    """

    options: ParamGroup
    tx: GradientTransformation
    held: Held
    places: Mapping[str, tuple[Place, ...]] = dataclasses.field(default_factory=dict)
    present: frozenset[str] = frozenset()
    parked: Parked = dataclasses.field(default_factory=dict)

    @property
    def state(self) -> PyTree:
        """The state of the transformation."""
        return self.held.state

    @state.setter
    def state(self, state: PyTree) -> None:
        self.held = Held.of(state)

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
        fields = {k: v for k, v in self.__dict__.items() if k != "held"}
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
