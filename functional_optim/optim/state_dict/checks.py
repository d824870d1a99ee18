"""Checks the structure of a state_dict in torch's format, before anything is loaded."""

from collections.abc import Hashable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from ...core.protocol import PyTree
from ..conversions import as_numpy

__all__ = ["check_groups", "check_params", "check_states", "is_count", "numbers_problem"]

_ADVICE = "Pass a state_dict as it was saved. Nothing was loaded."
_LARGEST = 2**31
"""Counts are int32."""


def check_groups(owner: str, groups: object, count: str) -> list[Mapping[str, PyTree]]:
    """Returns the groups of a state_dict as a list.

    Args:
      owner: name of the calling function, for errors.
      groups: the saved groups.
      count: key of the number of steps of a group, which may be missing.

    Raises:
      TypeError: the groups are not a list of dicts.
      ValueError: a number of steps is not a count.
    """
    if not isinstance(groups, (list, tuple)):
        raise _wrong(owner, "'param_groups'", "a list of dicts", groups)
    for i, group in enumerate(groups):
        if not isinstance(group, Mapping):
            raise _wrong(owner, f"'param_groups'[{i}]", "a dict", group)
        if group.get(count) is not None and not is_count(group[count]):
            raise ValueError(
                f"{owner}: {count!r} of the saved group {i} is {_shown(group[count])}, and not a "
                f"number of steps. {_ADVICE}"
            )
    return list(groups)


def check_params(owner: str, groups: Sequence[Mapping[str, PyTree]]) -> list[list[int]]:
    """Returns the numbers of the parameters of each group.

    Raises:
      TypeError: the numbers are not integers, or the names of the parameters are not texts.
      ValueError: a group has no numbers, or a number occurs twice.
    """
    numbers = []
    for i, group in enumerate(groups):
        if "params" not in group:
            raise ValueError(
                f"{owner}: the saved group {i} has no 'params', the numbers of its parameters. "
                f"{_ADVICE}"
            )
        params, names = group["params"], group.get("param_names")
        if not _is_list_of(params, (int, np.integer)):
            raise _wrong(owner, f"'params' of the saved group {i}", "a list of numbers", params)
        if names is not None and not _is_list_of(names, (str,)):
            raise _wrong(owner, f"'param_names' of the saved group {i}", "a list of texts", names)
        numbers.append([int(k) for k in params])
    flat = [k for ks in numbers for k in ks]
    twice = sorted({k for k in flat if flat.count(k) > 1}) if len(set(flat)) < len(flat) else []
    if twice:
        raise ValueError(f"{owner}: the saved groups list parameter {twice[0]} twice. {_ADVICE}")
    return numbers


def check_states(owner: str, states: Mapping[Hashable, object]) -> None:
    """Raises TypeError if the state of a parameter is not a dict with texts as keys."""
    for number, entry in states.items():
        if not isinstance(entry, Mapping):
            raise _wrong(owner, f"'state'[{number!r}]", "a dict", entry)
        for key in entry:
            if not isinstance(key, str):
                raise _wrong(owner, f"a key of 'state'[{number!r}]", "a text", key)


def is_count(value: object) -> bool:
    """Tells whether a value is a number of steps; torch keeps one as a float."""
    if numbers_problem(value) is not None or np.size(as_numpy(value)) != 1:
        return False
    number = as_numpy(value).item()
    is_whole = not isinstance(number, complex) and bool(np.isfinite(number))
    return is_whole and number == int(number) and 0 <= number < _LARGEST


def numbers_problem(value: object) -> str | None:
    """Describes a value that is neither a number nor an array of numbers; None if it is one."""
    try:
        dtype = as_numpy(value).dtype
    except (TypeError, ValueError):  # lists of unequal lengths
        return "is not an array"
    if jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_:
        return None
    return f"is {_shown(value)}, and not a number or an array of numbers"


def _is_list_of(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(k, kinds) and not isinstance(k, bool) for k in value
    )


def _wrong(owner: str, name: str, kind: str, value: object) -> TypeError:
    return TypeError(f"{owner}: {name} must be {kind}, got {_shown(value)}. {_ADVICE}")


def _shown(value: object) -> str:
    """Returns a short text of a value."""
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return repr(value)[:40]
    return f"a {type(value).__name__}"
