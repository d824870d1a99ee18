"""Hyperparameters that were passed as traced values, and replace the values in the state."""

import dataclasses
from typing import Any

import jax

from .adapter import ExtraArgsAdapter, check_state
from .caching import Keyed
from .chain import ChainUpdate
from .engine.fused import FusedUpdate
from .numerics.validation import as_state
from .protocol import GradientTransformation, Hyperparameter, PyTree
from .rules.schedule import NumberedSchedule
from .state import State

__all__ = ["WithTracedHyperparams", "is_traced", "without_traced_hyperparams"]


def is_traced(number: object) -> bool:
    """Tells whether a number, or any number of a schedule, is traced."""
    if isinstance(number, NumberedSchedule):
        return any(is_traced(v) for _, v in number.numbers)
    if isinstance(number, tuple):
        return any(map(is_traced, number))
    return isinstance(number, jax.core.Tracer)


@dataclasses.dataclass(frozen=True, eq=False)
class WithTracedHyperparams(Keyed):
    """`update` of a rule with traced hyperparameters, which replace the values in the state.

    Within a trace a state often comes from outside, made with other numbers, as in
    `jit(lambda lr, state: sgd(lr).update(grads, state))`, where the user means this lr.
    """

    update: FusedUpdate
    numbers: tuple[tuple[str, Hyperparameter], ...]

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates with the traced hyperparameters."""
        check_state(self.update.rules[0].name, updates, state, params)
        # Replaced at each call, because the state may come from outside of the trace.
        values, schedules = dict(state.hyperparams), dict(state._asdict().get("schedules", {}))
        for name, number in self.numbers:
            if isinstance(number, NumberedSchedule):
                schedules[name] = number.initial_numbers()
            else:
                values[name] = as_state(number)
        fields = {"hyperparams": values} | ({"schedules": schedules} if schedules else {})
        return self.update(updates, state._replace(**fields), params, **extra)


def without_traced_hyperparams(tx: GradientTransformation) -> GradientTransformation:
    """Returns the transformation without traced values: it reads hyperparameters from the state.

    For callers that store the state next to the transformation that made it: the returned update
    captures no tracer, and can be cached.
    """
    return GradientTransformation(tx.init, _without_traced(tx.update))


def _without_traced(update: Any) -> Any:
    if isinstance(update, WithTracedHyperparams):
        return update.update
    # A chain is made again, because its links are a part of its identity.
    if isinstance(update, ChainUpdate):
        links = tuple(ExtraArgsAdapter.to(_without_traced(link.function)) for link in update.links)
        return ChainUpdate.of(update.names, links)
    return update
