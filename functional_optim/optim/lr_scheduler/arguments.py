"""Arguments of schedulers: one value for all groups or a list, and what they must be."""

from collections.abc import Sequence
from typing import Any

from ..optimizer import Optimizer

__all__ = ["check_epochs", "check_one_of", "check_share", "per_group"]


def per_group(where: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group, out of one for all or a list.

    Raises:
      ValueError: the list has another length than there are groups.
    """
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"{where} must have the same length as optimizer.param_groups, {n}, got "
            f"{len(value)}. Pass one value for each group, or one for all."
        )
    return list(value)


def check_epochs(where: str, value: Any, least: int = 0) -> None:
    """Refuses a number of epochs that is less than `least`, or none.

    Raises:
      ValueError: it is; the message starts with `where`.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= least:
        kind = "positive" if least else "non-negative"
        raise ValueError(f"{where} must be a {kind} number of epochs, got {value!r}.")


def check_share(where: str, value: Any, positive: bool = False) -> None:
    """Refuses a factor outside [0, 1], and 0 where it must be positive.

    Raises:
      ValueError: it is; the message starts with `where`.
    """
    if not 0 <= value <= 1 or (positive and value == 0):
        interval = "(0, 1]" if positive else "[0, 1]"
        raise ValueError(f"{where} must be in {interval}, got {value!r}.")


def check_one_of(where: str, value: Any, choices: Sequence[str]) -> None:
    """Refuses a text that is none of the choices.

    Raises:
      ValueError: it is none; the message starts with `where`.
    """
    if value not in choices:
        listed = " or ".join(map(repr, choices))
        raise ValueError(f"{where} must be one of {listed}, got {value!r}.")
