"""Finds arguments of a call by position or by name, however they were passed."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..core.protocol import PyTree

__all__ = ["Place", "find_argument", "positional"]

Place: TypeAlias = int | str
"""The position or the name of an argument in a call."""


def _positional_names(fun: Callable[..., object]) -> list[str]:
    """Returns the names of the arguments that may be passed by position or by name."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except ValueError:  # some built-in functions have no signature
        return []
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def positional(
    fun: Callable[..., object],
    args: Sequence[PyTree],
    kwargs: Mapping[str, PyTree],
    count: int | None = None,
) -> tuple[tuple[PyTree, ...], dict[str, PyTree]]:
    """Passes the first `count` arguments of a call, or all, by position instead of by name.

    `jax.grad` and `jax.vmap` take positions only.
    """
    names, moved, by_name = _positional_names(fun), list(args), dict(kwargs)
    for name in names[len(moved) : count]:
        if name not in by_name:
            break
        moved.append(by_name.pop(name))
    return tuple(moved), by_name


def find_argument(
    fun: Callable[..., object], args: Sequence[PyTree], kwargs: Mapping[str, PyTree], which: Place
) -> Place:
    """Returns the place of an argument in a call; `which` is its position or name in `fun`.

    Raises:
      TypeError: the call does not have the argument.
    """
    names = _positional_names(fun)
    # An argument that `which` names by its position may have been passed by name, and the reverse.
    if isinstance(which, int):
        other: Place = names[which] if which < len(names) else which
        place = which if which < len(args) else other
    else:
        other = names.index(which) if which in names else which
        place = which if which in kwargs else other
    if not (place in kwargs if isinstance(place, str) else place < len(args)):
        present = (*names[: len(args)], *map(str, range(len(names), len(args))), *kwargs)
        raise TypeError(
            f"microbatch: there is no argument {which!r} in a call with "
            f"{', '.join(present) or 'none'}. argnums and argnames name the batches."
        )
    return place
