"""What of a saved state found its place, and what did not."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["RestoreReport", "describe"]

_SHOWN = 24
"""How many names of a kind an error lists; the report has all."""


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What of a saved state found its place, and what did not.

    Attributes:
      missing: name here -> shape and dtype, of what was not saved; the template's stays.
      unexpected: name there -> shape and dtype, of what was saved and has no place here.
      mismatched: name -> both shapes and dtypes, where they do not fit; the template's stays.
      moved: name here -> name there, of what was found under another link or label.
      settled: names of what was saved and is the template's all the same: numbers of a
        hyperparameter that was constant and follows a schedule now, or the reverse, or another
        schedule; what a label has of its own whose parameters came from others.
    """

    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unexpected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mismatched: Mapping[str, str] = dataclasses.field(default_factory=dict)
    moved: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settled: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that was saved has a place, and all places are filled."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        kinds = {k: getattr(self, k) for k in ("missing", "unexpected", "mismatched", "moved")}
        lines = [f"{kind}: {_listed(found)}" for kind, found in kinds.items() if found]
        return "\n".join(lines) or "all of it fits"


def _listed(found: Mapping[str, str]) -> str:
    shown = [f"'{k}' {v}" for k, v in list(found.items())[:_SHOWN]]
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(shown) + more


def describe(x: Any) -> str:
    """Shape and dtype, as reports write them."""
    return f"{tuple(np.shape(x))} {x.dtype if hasattr(x, 'dtype') else np.asarray(x).dtype}"
