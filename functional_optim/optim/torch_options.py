"""Finds the scalars of a state that have the value of a user's option."""

from collections.abc import Mapping

from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.state import State
from .conversions import is_plain_number
from .hyperparams import rule_inits
from .step.optimizer_group import StatePosition

__all__ = ["Options", "find_positions", "tag_option"]

Options = Mapping[str, Hyperparameter]
"""Options of a group by name."""


class _TaggedOption(float):
    """A number with the name of its option, and its index if the option is a tuple."""

    option: tuple[str, int | None]

    @classmethod
    def of(cls, option: tuple[str, int | None], value: float) -> "_TaggedOption":
        number = cls(value)
        number.option = option
        return number


def tag_option(key: str, value: Hyperparameter) -> Hyperparameter:
    """Tags the floats of an option; integers are not tagged, because they may be static counts."""
    if isinstance(value, tuple):
        return tuple(_tag((key, i), part) for i, part in enumerate(value))
    return _tag((key, None), value)


def _tag(option: tuple[str, int | None], value: Hyperparameter) -> Hyperparameter:
    is_float = is_plain_number(value) and not isinstance(value, int)
    return _TaggedOption.of(option, value) if is_float else value


def find_positions(
    tx: GradientTransformation, options: Options, leaf_indices: State
) -> dict[str, tuple[StatePosition, ...]]:
    """Finds the tagged options in the state of `tx`.

    An edit of an option that is found is written into the state, and the transformation is not
    made again. An option is left out if one of its numbers is not found.

    Args:
      tx: the transformation, made with the tagged options.
      options: the tagged options.
      leaf_indices: the state with the index of each leaf in place of the leaf.
    """
    positions: dict[str, list[StatePosition]] = {}
    for link, init in rule_inits(tx):
        arguments = init.rule.spec.arguments
        for name, number in init.numbers:
            if isinstance(number, _TaggedOption):
                key, part = number.option
                leaf = leaf_indices[link].hyperparams[name]
                position = StatePosition(part, leaf, arguments[name].interval)
                positions.setdefault(key, []).append(position)
    return {
        key: tuple(key_positions)
        for key, key_positions in positions.items()
        if {position.part for position in key_positions} == _parts(options[key])
    }


def _parts(value: object) -> set[int | None]:
    return set(range(len(value))) if isinstance(value, tuple) else {None}
