"""The result of a migration from an older format."""

import dataclasses

from .placing import SavedArray

__all__ = ["Migrated"]


@dataclasses.dataclass(frozen=True)
class Migrated:
    """A named state of some format.

    Attributes:
      arrays: name -> array.
      optional: names of arrays that are dropped if the restored state has no place for them.
    """

    arrays: dict[str, SavedArray]
    optional: frozenset[str] = frozenset()
