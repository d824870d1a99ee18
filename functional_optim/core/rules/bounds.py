"""The bounds that the rules of a transformation declare for its hyperparameters."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..numerics.validation import Interval
from ..protocol import GradientTransformation
from .init import RuleInit
from .schedule import NumberedSchedule

__all__ = ["bounds_of"]


class _Number(NamedTuple):
    """A hyperparameter of a rule, and its bounds."""

    rule: str  # name of the rule, and of its link unless the user named that
    name: str
    interval: Interval | None


def bounds_of(tx: GradientTransformation, names: Sequence[str]) -> dict[str, Interval]:
    """Returns the interval of each hyperparameter, by the name that `get_hyperparams` gives it.

    A hyperparameter has no interval here if its rule is within a transformation of another
    library, or if its name fits several rules with different bounds.
    """
    numbers = [number for rule in _rules(tx.init) for number in _numbers(rule)]
    intervals = {name: _interval(name, names, numbers) for name in names}
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _interval(name: str, names: Sequence[str], numbers: list[_Number]) -> Interval | None:
    """Returns the interval of a hyperparameter, if all rules that may have it declare the same."""
    candidates = [n for n in numbers if _ends_with(name, n.name)]
    # `chain` numbers links of the same name: `trace_1`.
    links = {re.sub(r"_\d+$", "", part) for part in name.split(".")}
    in_links = [n for n in candidates if n.rule in links]
    # The user may have named the link. Then the candidates count if the state has as many
    # hyperparameters of this name as the rules have, so that none is another library's.
    if not in_links and len(candidates) == sum(
        _ends_with(k, n.name) for k in names for n in candidates[:1]
    ):
        in_links = candidates
    intervals = {n.interval for n in in_links}
    return intervals.pop() if len(intervals) == 1 else None


def _ends_with(name: str, local: str) -> bool:
    return name == local or name.endswith(f".{local}")


def _numbers(init: RuleInit) -> Iterator[_Number]:
    """Yields the hyperparameters that are numbers; the values of a schedule are not checked."""
    arguments = init.rule.spec.arguments
    for name, value in init.numbers:
        if not isinstance(value, NumberedSchedule):
            # With labels the name is `argument.label`.
            argument = arguments.get(name) or arguments[name.partition(".")[0]]
            yield _Number(init.name, name, argument.interval)


def _rules(init: object) -> Iterator[RuleInit]:
    """Yields the rules of a transformation's init, through chains and wrappers."""
    if isinstance(init, RuleInit):
        yield init
    elif isinstance(init, tuple):
        for part in init:
            yield from _rules(part)
    elif dataclasses.is_dataclass(init) and not isinstance(init, type):
        for field in dataclasses.fields(init):
            yield from _rules(getattr(init, field.name))
