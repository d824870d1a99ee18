"""A warning of saved options that no group takes over, for the groups are others now."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .plain import as_numpy, frozen
from .torch_file import SavedGroup
from .user_line import users_level

__all__ = ["warn_of_left_out"]

_WITHOUT_MEANING = frozenset({"foreach", "fused", "capturable", "differentiable"})


def warn_of_left_out(
    who: str, groups: Sequence[Mapping[str, Any]], saved: Sequence[SavedGroup]
) -> None:
    """Warns where a group keeps options of its own, and its parameters were saved with others.

    Args:
      who: what is called.
      groups: options of each group here.
      saved: what the file has for each.
    """
    lines = [f"group {i}: {what}" for i, what in enumerate(map(_left_out, groups, saved)) if what]
    if lines:
        warnings.warn(
            f"{who}: options were not taken over, for the parameters are grouped otherwise here "
            f"than in the file. {'; '.join(lines)}. Assign to param_groups what is to hold.",
            UserWarning,
            stacklevel=users_level(),
        )


def _left_out(own: Mapping[str, Any], saved: SavedGroup) -> str:
    """What differs: `lr 0.001 here, 0.02 and 0.01 in the file`; empty where nothing does."""
    found = []
    for key in sorted(own.keys() - _WITHOUT_MEANING):
        there = [options[key] for options in saved.others if key in options]
        if not all(_same(own[key], value) for value in there):
            values = " and ".join(dict.fromkeys(repr(frozen(value)) for value in there))
            found.append(f"{key} {own[key]!r} here, {values} in the file")
    return ", ".join(found)


def _same(a: Any, b: Any) -> bool:
    """Whether two options are of one value; JSON has made lists of tuples."""
    if a is None or b is None or callable(a) or callable(b):
        return bool(a is b or (callable(a) and a == b))
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.array_equal(as_numpy(a), as_numpy(b)))
