"""Traced numbers, which belong to the transformation that they were given to."""

import dataclasses
from typing import Any

import jax

from .chain import ChainUpdate
from .engine import RuleUpdate
from .link import Link
from .numbers import as_state
from .protocol import GradientTransformation, PyTree
from .schedule import NumberedSchedule
from .state import State

__all__ = ["Bound", "is_traced", "unbound"]


def is_traced(number: Any) -> bool:
    """Whether a number, or one of a schedule, is traced."""
    if isinstance(number, NumberedSchedule):
        return any(is_traced(v) for _, v in number.numbers)
    if isinstance(number, tuple):
        return any(map(is_traced, number))
    return isinstance(number, jax.core.Tracer)


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """`update` of a rule that was given traced numbers: they replace those of the state.

    Within a trace a state often comes from outside, made with other numbers, as in
    `jit(lambda lr, state: sgd(lr).update(grads, state))`: who writes that means this lr.
    """

    update: RuleUpdate
    numbers: tuple[tuple[str, Any], ...]

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates with the traced numbers."""
        values, schedules = dict(state.hyperparams), dict(state._asdict().get("schedules", {}))
        for name, number in self.numbers:
            if isinstance(number, NumberedSchedule):
                schedules[name] = number.initial_numbers()
            else:
                values[name] = as_state(number)
        fields = {"hyperparams": values} | ({"schedules": schedules} if schedules else {})
        return self.update(updates, state._replace(**fields), params, **extra)


def unbound(tx: GradientTransformation) -> GradientTransformation:
    """The transformation whose numbers are those of the state alone.

    For who keeps state and transformation together, and knows that one made the other: the
    update then holds no traced value, and may be kept.
    """
    return GradientTransformation(tx.init, _unbound_update(tx.update))


def _unbound_update(update: Any) -> Any:
    if isinstance(update, Bound):
        return update.update
    if isinstance(update, ChainUpdate):
        links = tuple(Link.to(_unbound_update(link.function)) for link in update.links)
        return ChainUpdate.of(update.names, links)
    return update
