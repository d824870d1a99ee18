"""The version of the format of named states, and the migrations from older versions."""

from collections.abc import Callable, Mapping

import numpy as np

from .format_1 import migrate_format_1
from .migration import Migrated
from .placing import SavedArray

__all__ = ["COUNT", "FORMAT_VERSION", "MIGRATIONS", "VERSION_KEY", "migrate"]

FORMAT_VERSION = 2

VERSION_KEY = "_format_version"
"""Key of the version in a named state; no path has this name."""

COUNT = "_count"
"""Key of the number of steps in a parameter group of a `state_dict`; it is not an option."""

MIGRATIONS: dict[int, Callable[[Migrated], Migrated]] = {1: migrate_format_1}
"""Version -> function that converts a named state of this version to the next version."""


def migrate(function: str, state_dict: Mapping[str, SavedArray]) -> Migrated:
    """Returns the arrays of a named state, converted to the present format.

    Raises:
      TypeError: the named state is not a mapping.
      ValueError: the named state has no version, or a version newer than this package reads.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{function}: the saved state must be a dict, got {type(state_dict).__name__}. Pass "
            "the result of to_state_dict."
        )
    if VERSION_KEY not in state_dict:
        shown = ", ".join(map(repr, list(state_dict)[:4])) or "no keys"
        raise ValueError(
            f"{function}: the saved state has no '{VERSION_KEY}', it has {shown}. Pass the "
            "result of to_state_dict."
        )
    version = int(np.asarray(state_dict[VERSION_KEY]))
    if not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{function}: the saved state is of format {version}, and this version of "
            f"functional_optim reads formats 1 to {FORMAT_VERSION}. Install a newer one."
        )
    migrated = Migrated({k: v for k, v in state_dict.items() if k != VERSION_KEY})
    for old in range(version, FORMAT_VERSION):
        migrated = MIGRATIONS[old](migrated)
    return migrated
