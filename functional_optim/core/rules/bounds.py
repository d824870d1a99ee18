"""The bounds that the rules within a transformation set to its hyperparameters."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..numerics.validation import Interval
from ..protocol import GradientTransformation
from .init import RuleInit
from .schedule import NumberedSchedule

__all__ = ["bounds_of"]


class _Number(NamedTuple):
    """A number of a rule, and where it must lie; the rule's name is most often its link's."""

    rule: str
    name: str
    interval: Interval | None


def bounds_of(tx: GradientTransformation, names: Sequence[str]) -> dict[str, Interval]:
    """Returns the interval of each hyperparameter, by the name that `get_hyperparams` gives it.

    One whose rule is out of reach, within a transformation of another library, has none; nor
    has one that several rules may have, which set it different bounds.
    """
    numbers = [number for rule in _rules(tx.init) for number in _numbers(rule)]
    found = {name: _interval(name, names, numbers) for name in names}
    return {name: interval for name, interval in found.items() if interval is not None}


def _interval(name: str, names: Sequence[str], numbers: list[_Number]) -> Interval | None:
    """Returns the interval on which all rules agree that may have the number."""
    candidates = [n for n in numbers if _ends(name, n.name)]
    links = {re.sub(r"_\d+$", "", part) for part in name.split(".")}
    exact = [n for n in candidates if n.rule in links]
    # A link may have a name of the user's; then the number is a rule's if all of its name are.
    if not exact and len(candidates) == sum(
        _ends(k, n.name) for k in names for n in candidates[:1]
    ):
        exact = candidates
    agreed = {n.interval for n in exact}
    return agreed.pop() if len(agreed) == 1 else None


def _ends(name: str, local: str) -> bool:
    return name == local or name.endswith(f".{local}")


def _numbers(init: RuleInit) -> Iterator[_Number]:
    """Yields the hyperparameters given as numbers: a rule does not check a schedule's values."""
    arguments = init.rule.spec.arguments
    for name, value in init.numbers:
        if not isinstance(value, NumberedSchedule):
            argument = arguments.get(name) or arguments[name.partition(".")[0]]
            yield _Number(init.name, name, argument.interval)


def _rules(init: Any) -> Iterator[RuleInit]:
    """Returns the rules that an init is made of, through chains and wrappers."""
    if isinstance(init, RuleInit):
        yield init
    elif isinstance(init, tuple):
        for part in init:
            yield from _rules(part)
    elif dataclasses.is_dataclass(init) and not isinstance(init, type):
        for field in dataclasses.fields(init):
            yield from _rules(getattr(init, field.name))
