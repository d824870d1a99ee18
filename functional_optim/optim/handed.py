"""Finding which numbers of a transformation are options as the user gave them."""

from collections.abc import Mapping
from typing import Any

from ..core.protocol import GradientTransformation
from ..core.renumber import rules_of
from ..core.state import State
from .group import Place
from .plain import is_plain_number

__all__ = ["find_places", "hand_over"]


class _Handed(float):
    """A number that knows of which option it is, and of which part where that is a tuple."""

    option: tuple[str, int | None]

    @classmethod
    def of(cls, option: tuple[str, int | None], value: Any) -> "_Handed":
        number = cls(value)
        number.option = option
        return number


def hand_over(key: str, value: Any) -> Any:
    """An option with its numbers marked; integers may be counts, and stay."""
    if isinstance(value, tuple):
        return tuple(_mark((key, i), part) for i, part in enumerate(value))
    return _mark((key, None), value)


def _mark(option: tuple[str, int | None], value: Any) -> Any:
    floating = is_plain_number(value) and not isinstance(value, int)
    return _Handed.of(option, value) if floating else value


def find_places(
    tx: GradientTransformation, options: Mapping[str, Any], indices: State
) -> dict[str, tuple[Place, ...]]:
    """Where the options that were handed over stand in the state of `tx`.

    Only of options all of whose numbers are there.

    Args:
      tx: made of the options.
      options: as handed over.
      indices: the structure of the state, with its leaves numbered.
    """
    places: dict[str, list[Place]] = {}
    for link, rule in rules_of(tx):
        for name, number in rule.numbers:
            if isinstance(number, _Handed):
                key, part = number.option
                index = indices[link].hyperparams[name]
                place = Place(part, index, rule.update.rule.bounds.get(name))
                places.setdefault(key, []).append(place)
    return {
        key: tuple(found)
        for key, found in places.items()
        if {place.part for place in found} == _parts(options[key])
    }


def _parts(value: Any) -> set[int | None]:
    return set(range(len(value))) if isinstance(value, tuple) else {None}
