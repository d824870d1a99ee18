"""Finds hyperparameters that are saved under another of their names."""

from collections.abc import Collection
from itertools import product

from ..core.rules.spec import OTHER_ARGUMENT_NAMES

__all__ = ["by_argument_names"]

_FIELDS = ("hyperparams", "schedules")
"""Fields of a link that hold its numbers."""


def by_argument_names(saved: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Finds saved hyperparameters whose rule calls the argument otherwise than an optimizer.

    What `trace` calls `decay` is the `momentum` of `sgd`: a state of one fits the other.

    Returns:
      Saved name -> wanted name, for those that differ.
    """
    found = {}
    for name in wanted:
        if name in saved:
            continue
        for field, (argument, others) in product(_FIELDS, OTHER_ARGUMENT_NAMES.items()):
            link, there, rest = f".{name}".rpartition(f".{field}.")
            if not there or rest.partition(".")[0] != argument:
                continue
            for other in others:
                candidate = f"{link}{there}{other}{rest.removeprefix(argument)}"[1:]
                if candidate in saved and candidate not in wanted:
                    found[candidate] = name
    return found
