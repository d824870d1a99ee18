"""Schedules with a state, which may depend on more than the step."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.precision import safe_increment
from ..core.protocol import PyTree, Schedule
from ..core.state import State

__all__ = ["StatefulSchedule", "WrappedSchedule"]


@runtime_checkable
class StatefulSchedule(Protocol):
    """A schedule for `inject_hyperparams` that depends on more than the step, such as a loss.

    It is called with the extra arguments of `update`, so its methods must take `**extra_args`.

    Example:
      >>> import functional_optim as fo
      >>> class LowestLoss(fo.StatefulSchedule):
      ...     def init(self):
      ...         return jnp.array(1.0)
      ...     def update(self, state, **extra_args):
      ...         return jnp.minimum(state, extra_args["value"])
      ...     def __call__(self, state, **extra_args):
      ...         return jnp.minimum(state, extra_args.get("value", 1.0))
      >>> tx = fo.inject_hyperparams(fo.sgd)(LowestLoss())
      >>> updates, _ = tx.update({"w": 2.0}, tx.init({"w": 0.0}), value=0.25)
      >>> print(updates["w"])
      -0.5
    """

    def init(self) -> PyTree:
        """Returns the state before the first update."""

    def update(self, state: PyTree, **extra_args: object) -> PyTree:
        """Computes the state of the next update."""

    def __call__(self, state: PyTree, **extra_args: object) -> ArrayLike:
        """Computes the value of this update."""


class WrappedSchedule(StatefulSchedule):
    """Wraps a schedule as a `StatefulSchedule`, whose state is the number of updates.

    Args:
      schedule_fn: function of the number of updates, from 0.

    Example:
      >>> import functional_optim as fo
      >>> schedule = fo.WrappedSchedule(fo.linear_schedule(1.0, 0.0, 4))
      >>> print(schedule(schedule.update(schedule.init())))
      0.75
    """

    def __init__(self, schedule_fn: Schedule) -> None:
        self.schedule_fn = schedule_fn

    def init(self) -> State:
        """Returns a count of 0."""
        return State(count=jnp.zeros((), jnp.int32))

    def update(self, state: State, **extra_args: object) -> State:
        """Adds one to the count."""
        del extra_args
        return State(count=safe_increment(state.count))

    def __call__(self, state: State, **extra_args: object) -> ArrayLike:
        """Computes the schedule's value at this number of updates."""
        del extra_args
        return self.schedule_fn(state.count)
