"""Schedules given by boundaries, and by a scale for each boundary."""

import dataclasses
import itertools
import operator
from collections.abc import Mapping, Sequence
from types import NoneType

import jax

from ..core.caching import Interned
from ..core.numerics.array_namespace import namespace
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import PyTree
from ..core.rules.schedule import Number, NumberedSchedule, check_choice
from .phases import SHAPES, interpolate_through

__all__ = ["jumps", "piecewise_constant_schedule", "piecewise_interpolate_schedule"]

Array = jax.Array


def piecewise_constant_schedule(
    init_value: Number, boundaries_and_scales: Mapping[int, Number] | None = None
) -> NumberedSchedule:
    """Starts at `init_value`, and multiplies the value by a scale at each boundary.

        value = init_value times the product of all scales whose boundary <= step

    All numbers are `()`. `step` and the boundaries are in updates, counted from 0; scales
    have no unit. In the state, the numbers are `boundaries.0`, `scales.0` and so on, in the
    order of the boundaries.

    Args:
      init_value: the value before the first boundary.
      boundaries_and_scales: boundary -> scale, in any order.

    Raises:
      ValueError: a boundary or a scale is negative.

    Example:
      >>> s = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.5})
      >>> [float(s(i)) for i in (0, 9, 10, 20, 99)]
      [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    name = "piecewise_constant_schedule"
    numbers = _checked_numbers(name, init_value, boundaries_and_scales)
    text = f"{name}({init_value!r}, {boundaries_and_scales!r})"
    return NumberedSchedule(_evaluate_jumps, numbers, text)


def _evaluate_jumps(step: Array, numbers: Mapping[str, PyTree]) -> Array:
    return jumps(as_state(step), **numbers)


def jumps(
    step: Array, init_value: Array, boundaries: Sequence[Array], scales: Sequence[Array]
) -> Array:
    """Multiplies a value by the scales of all boundaries that are reached."""
    xp = namespace(step)
    value = xp.broadcast_to(init_value, step.shape)
    for boundary, scale in zip(boundaries, scales, strict=True):
        value = xp.where(step < boundary, value, value * scale)
    return value


def piecewise_interpolate_schedule(
    interpolate_type: str,
    init_value: Number,
    boundaries_and_scales: Mapping[int, Number] | None = None,
) -> NumberedSchedule:
    """Starts at `init_value`, and moves to reach a multiple of the value at each boundary.

    At a boundary the value is `init_value` times the product of the scales up to that boundary; in
    between it moves in a straight line or along half a cosine, and after the last it does not
    change. All numbers are `()`. `step` and the boundaries are in updates, counted from 0; scales
    have no unit. In the state, the numbers are `boundaries.0`, `scales.0` and so on, in the order
    of the boundaries; an edit must not change this order.

    Args:
      interpolate_type: `"linear"` or `"cosine"`.
      init_value: the value at step 0.
      boundaries_and_scales: boundary -> scale, in any order.

    Raises:
      ValueError: a boundary or a scale is negative, or interpolate_type is unknown.

    Example:
      >>> s = piecewise_interpolate_schedule("linear", 1.0, {4: 0.5, 8: 0.0})
      >>> [float(s(i)) for i in (0, 2, 4, 6, 8, 99)]
      [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    name = "piecewise_interpolate_schedule"
    shape = check_choice(interpolate_type, f"{name}: interpolate_type", ("linear", "cosine"))
    numbers = _checked_numbers(name, init_value, boundaries_and_scales)
    text = f"{name}({shape!r}, {init_value!r}, {boundaries_and_scales!r})"
    return NumberedSchedule(_Interpolation.of(shape), numbers, text)


@dataclasses.dataclass(frozen=True)
class _Interpolation(Interned):
    """Interpolates between the values of neighbouring boundaries."""

    shape: str

    def __call__(self, step: Array, numbers: Mapping[str, PyTree]) -> Array:
        factors = (numbers["init_value"], *numbers["scales"])
        values = tuple(itertools.accumulate(factors, operator.mul))
        return interpolate_through(
            as_state(step), numbers["boundaries"], values, SHAPES[self.shape]
        )


def _checked_numbers(
    name: str, init_value: Number, boundaries_and_scales: Mapping[int, Number] | None
) -> tuple[tuple[str, Number | tuple[Number, ...]], ...]:
    interval = Interval("[0, inf)")
    argument = f"{name}: boundaries_and_scales"
    if not isinstance(boundaries_and_scales, (Mapping, NoneType)):
        raise TypeError(
            f"{argument} must be a mapping, got {boundaries_and_scales!r}. Pass {{step: factor}}."
        )
    scales = {
        as_number(k, f"{argument}: a boundary", interval): as_number(
            v, f"{argument}[{k!r}]", interval
        )
        for k, v in (boundaries_and_scales or {}).items()
    }
    return (
        ("init_value", as_number(init_value, f"{name}: init_value")),
        ("boundaries", tuple(sorted(scales))),
        ("scales", tuple(scales[k] for k in sorted(scales))),
    )
