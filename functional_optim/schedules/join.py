"""Schedules that follow one another."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from ..core.caching import Interned
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import PyTree, Schedule
from ..core.rules.schedule import Number, NumberedSchedule, numbered
from .decay import constant_schedule
from .warmup import warmup_cosine_decay_schedule

__all__ = ["join_schedules", "sgdr_schedule"]

Array = jax.Array
Evaluate = Callable[[Array, Mapping[str, PyTree]], Array]


def join_schedules(
    schedules: Sequence[Schedule | Number], boundaries: Sequence[Number]
) -> NumberedSchedule:
    """Follows several schedules in turn, each of which counts from the step at which it begins.

    Before `boundaries[0]` the value is `schedules[0](step)`; from `boundaries[i]` on, and
    before the next, it is `schedules[i + 1](step - boundaries[i])`. `step` and the
    boundaries, each `()`, are in updates, counted from 0. Where two boundaries are equal, the
    schedule between them is skipped.

    In the state, the numbers are `boundaries.0`, ... and, with the names of each schedule,
    `schedules.0.init_value`, ...

    Args:
      schedules: schedules of this package, functions of the step, or constant numbers.
      boundaries: the steps at which the next schedule begins, one for each schedule but the first.

    Differences: outside its turn, a schedule is evaluated at the nearest step of its turn; optax
    evaluates it at negative steps and past its end, where an infinite value makes derivatives NaN.

    Raises:
      ValueError: there are no schedules, the number of boundaries is not one less than the number
        of schedules, or the boundaries are negative or decrease.
      TypeError: a schedule is neither a callable nor a number.

    Example:
      >>> import functional_optim as fo
      >>> s = fo.join_schedules([fo.linear_schedule(0.0, 1.0, 4), 0.5], [4])
      >>> [float(s(i)) for i in (0, 3, 4, 9)]
      [0.0, 0.75, 0.5, 0.5]
      >>> state = fo.sgd(s).init({"w": 0.0})
      >>> float(fo.get_hyperparams(state)["learning_rate.schedules.0.end_value"])
      1.0
    """
    parts = tuple(_numbered_part(i, value) for i, value in enumerate(schedules))
    numbers = (("schedules", parts), ("boundaries", _check_boundaries(len(parts), boundaries)))
    text = f"join_schedules({list(parts)!r}, {list(boundaries)!r})"
    return NumberedSchedule(_Join.of(_evaluates(parts)), numbers, text)


@dataclasses.dataclass(frozen=True)
class _Join(Interned):
    """Follows the parts in turn, between given boundaries."""

    parts: tuple[Evaluate, ...]

    def __call__(self, step: Array, numbers: Mapping[str, PyTree]) -> Array:
        return _in_turn(step, self.parts, numbers["schedules"], numbers["boundaries"])


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Number]]) -> NumberedSchedule:
    """Repeats `warmup_cosine_decay_schedule`, with other numbers in each cycle.

    A cycle takes `decay_steps` updates, which include its warmup; the last stays at its end value.
    All numbers are `()`; steps are in updates, counted from the beginning of their cycle. In the
    state the numbers are `cycles.0.peak_value`, ...; a change of `cycles.0.decay_steps` moves all
    cycles after it.

    Args:
      cosine_kwargs: the arguments of `warmup_cosine_decay_schedule` for each cycle.

    Raises:
      ValueError: there are no cycles, or a number of a cycle is out of range.
      TypeError: the arguments of a cycle do not match `warmup_cosine_decay_schedule`.

    Example:
      >>> cycle = {"init_value": 0.0, "warmup_steps": 2, "decay_steps": 6}
      >>> s = sgdr_schedule([cycle | {"peak_value": 1.0}, cycle | {"peak_value": 0.5}])
      >>> [round(float(s(i)), 6) for i in (0, 2, 4, 6, 8, 10, 12)]
      [0.0, 1.0, 0.5, 0.0, 0.5, 0.25, 0.0]

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, section 3, arXiv:1608.03983.
    """
    cycles = tuple(_cycle(i, kwargs) for i, kwargs in enumerate(cosine_kwargs))
    if not cycles:
        raise ValueError("sgdr_schedule: cosine_kwargs is empty. Pass a dict for each cycle.")
    text = f"sgdr_schedule({list(cycles)!r})"
    return NumberedSchedule(_Restarts.of(_evaluates(cycles)), (("cycles", cycles),), text)


@dataclasses.dataclass(frozen=True)
class _Restarts(Interned):
    """Follows the cycles in turn, each for its `decay_steps`."""

    parts: tuple[Evaluate, ...]

    def __call__(self, step: Array, numbers: Mapping[str, PyTree]) -> Array:
        cycles = numbers["cycles"]
        boundaries = list(itertools.accumulate(cycle["decay_steps"] for cycle in cycles[:-1]))
        return _in_turn(step, self.parts, cycles, boundaries)


def _in_turn(
    step: Array,
    parts: Sequence[Evaluate],
    numbers: Sequence[Mapping[str, PyTree]],
    boundaries: Sequence[Array],
) -> Array:
    step = as_state(step)
    begins = (jnp.zeros((), step.dtype), *boundaries)
    ends = (*boundaries, jnp.full((), jnp.inf, step.dtype))
    values = [
        # Outside its turn a schedule may be infinite, and its derivative would be NaN although
        # the value is not selected: so it is evaluated at a step of its turn.
        part(jnp.clip(step, begin, end) - begin, part_numbers)
        for part, part_numbers, begin, end in zip(parts, numbers, begins, ends, strict=True)
    ]
    result = values[0]
    for boundary, value in zip(boundaries, values[1:], strict=True):
        result = jnp.where(step < boundary, result, value)
    return result


def _evaluates(parts: Sequence[NumberedSchedule]) -> tuple[Evaluate, ...]:
    return tuple(part.evaluate for part in parts)


def _numbered_part(i: int, value: Schedule | Number) -> NumberedSchedule:
    if callable(value):
        return numbered(value)
    return constant_schedule(as_number(value, f"join_schedules: schedules[{i}]"))


def _check_boundaries(parts: int, boundaries: Sequence[Number]) -> tuple[Number, ...]:
    if not parts:
        raise ValueError("join_schedules: schedules is empty. Pass at least one schedule.")
    if len(boundaries) != parts - 1:
        raise ValueError(
            f"join_schedules: boundaries must be one fewer than the schedules, {parts - 1}, got "
            f"{len(boundaries)}. Pass the steps at which one schedule follows another."
        )
    where, interval = "join_schedules: boundaries", Interval("[0, inf)")
    steps = tuple(as_number(b, f"{where}[{i}]", interval) for i, b in enumerate(boundaries))
    concrete = [b for b in steps if not isinstance(b, jax.core.Tracer)]
    if concrete != sorted(concrete):
        raise ValueError(
            f"{where} must not decrease, got {list(steps)!r}. Pass steps counted from the start "
            "of the first schedule, not the lengths of the schedules."
        )
    return steps


def _cycle(i: int, kwargs: Mapping[str, Number]) -> NumberedSchedule:
    try:
        return warmup_cosine_decay_schedule(**kwargs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"sgdr_schedule: cosine_kwargs[{i}]: {error}") from None
