"""Arguments of a call, found by position or by name, whichever way they were given."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Place", "place_of", "positional"]

Place = int | str
"""Where an argument stands in a call: its position, or its name."""


def _names(fun: Callable[..., Any]) -> list[str]:
    """Names of the arguments that may be given by position."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except ValueError:  # of a function that is not written in Python
        return []
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def positional(
    fun: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    count: int | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Moves the first `count` arguments of a call, or all, to positions, if they are given.

    `jax.grad` and its kind differentiate no argument that is given by name.
    """
    names, moved, rest = _names(fun), list(args), dict(kwargs)
    for name in names[len(moved) : count]:
        if name not in rest:
            break
        moved.append(rest.pop(name))
    return tuple(moved), rest


def place_of(
    fun: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], which: Place
) -> Place:
    """Finds the argument of this position or name in a call.

    Raises:
      TypeError: it has none.
    """
    names = _names(fun)
    if isinstance(which, int):
        known: Place = names[which] if which < len(names) else which
        found = which if which < len(args) else known
    else:
        known = names.index(which) if which in names else which
        found = which if which in kwargs else known
    if not (found in kwargs if isinstance(found, str) else found < len(args)):
        there = (*names[: len(args)], *map(str, range(len(names), len(args))), *kwargs)
        raise TypeError(
            f"microbatch: there is no argument {which!r} in a call with "
            f"{', '.join(there) or 'none'}. argnums and argnames say what is a batch."
        )
    return found
