"""What a migration from an older format returns."""

import dataclasses
from typing import Any

__all__ = ["Migrated"]


@dataclasses.dataclass(frozen=True)
class Migrated:
    """A named state of some format.

    Attributes:
      arrays: name -> array.
      optional: names of arrays that are left out where the restored state has no place for them.
    """

    arrays: dict[str, Any]
    optional: frozenset[str] = frozenset()
