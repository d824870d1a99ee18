"""Reports which arrays of a saved state were restored, and which were not."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from .placing import SavedArray, StateArray, dtype_of

__all__ = ["RestoreReport", "describe"]

_SHOWN = 24
"""Number of names of a kind that an error lists at most; the report has all."""


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """Lists which arrays of a saved state were restored, and which were not.

    Attributes:
      missing: name in the template -> shape and dtype of an array that was not saved; the
        template's value stays.
      unexpected: saved name -> shape and dtype of an array that has no place in the template.
      mismatched: name -> both shapes and dtypes, where they do not fit; the template's value stays.
      moved: name in the template -> saved name of an array that was under another link or label.
      kept: names that were saved and keep the template's value on purpose: numbers of a
        hyperparameter that was constant and now follows a schedule, or the reverse, or another
        schedule; numbers of a label whose parameters came from other labels; labels of
        `by_label`; with `hyperparams="template"`, all hyperparameters of both.
      leaf_counts: paths of the links whose restored state has `leaf_counts`, and whose template
        does not have them, because their parameters had different numbers of updates.
        Scalars that such a link carries are `(n,)`, too.
    """

    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unexpected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mismatched: Mapping[str, str] = dataclasses.field(default_factory=dict)
    moved: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kept: tuple[str, ...] = ()
    leaf_counts: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all saved arrays have a place, and all places are filled."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        kinds = {k: getattr(self, k) for k in ("missing", "unexpected", "mismatched", "moved")}
        lines = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
        if self.leaf_counts:
            links = ", ".join(f"'{link}'" for link in self.leaf_counts)
            lines.append(f"leaf_counts: each parameter has a separate count in {links}")
        return "\n".join(lines) or "everything fits"


def _listed(names: Mapping[str, str]) -> str:
    shown = [f"'{k}' {v}" for k, v in list(names.items())[:_SHOWN]]
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def describe(x: SavedArray | StateArray) -> str:
    """Returns shape and dtype as text."""
    return f"{tuple(np.shape(x))} {dtype_of(x)}"
