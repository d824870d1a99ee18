"""The version of the format of named states, and how older ones become it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["FORMAT_VERSION", "MIGRATIONS", "VERSION_KEY", "migrated"]

FORMAT_VERSION = 1

VERSION_KEY = "_format_version"
"""Key of the version in a named state; no path is called so."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version -> what makes a named state of the next version of one of this."""


def migrated(who: str, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a named state under the names of this version.

    Raises:
      TypeError: it is no mapping.
      ValueError: it has no version, or a newer one than this package knows.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{who}: the saved state must be a dict, got {type(state_dict).__name__}. Pass what "
            "to_state_dict gave."
        )
    if VERSION_KEY not in state_dict:
        shown = ", ".join(map(repr, list(state_dict)[:4])) or "no keys"
        raise ValueError(
            f"{who}: the saved state has no '{VERSION_KEY}', it has {shown}. Pass what "
            "to_state_dict gave."
        )
    version = int(np.asarray(state_dict[VERSION_KEY]))
    if not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{who}: the saved state is of format {version}, and this version of functional_optim "
            f"reads formats 1 to {FORMAT_VERSION}. Install a newer one."
        )
    arrays = {k: v for k, v in state_dict.items() if k != VERSION_KEY}
    for old in range(version, FORMAT_VERSION):
        arrays = MIGRATIONS[old](arrays)
    return arrays
