"""Finds hyperparameters that were saved under another name of the same argument."""

from collections.abc import Collection
from itertools import product

from ..core.rules.spec import OTHER_ARGUMENT_NAMES

__all__ = ["find_renamed"]

_FIELDS = ("hyperparams", "schedules")
"""Fields of a link's state that have an entry for each hyperparameter."""


def find_renamed(saved: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Finds saved hyperparameters whose argument has another name in the wanted state.

    The `decay` of `trace` is the `momentum` of `sgd`, so a state of one fits the other.

    Returns:
      Saved name -> wanted name, where the two differ.
    """
    renamed = {}
    for name in wanted:
        if name in saved:
            continue
        for field, (argument, others) in product(_FIELDS, OTHER_ARGUMENT_NAMES.items()):
            link, separator, path = f".{name}".rpartition(f".{field}.")
            if not separator or path.partition(".")[0] != argument:
                continue
            for other in others:
                # The path of a schedule's number begins with the argument; the rest is the same.
                candidate = f"{link}{separator}{other}{path.removeprefix(argument)}"[1:]
                if candidate in saved and candidate not in wanted:
                    renamed[candidate] = name
    return renamed
