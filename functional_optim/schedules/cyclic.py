"""Schedules that swing between two values."""

from typing import Any, NamedTuple

import jax

from ..core.numerics.array_namespace import namespace
from ..core.rules.schedule import Number, schedule
from .phases import SHAPES, Phase, between, phase

__all__ = ["MODES", "Swing", "amplitude", "cyclic_schedule", "swing"]

Array = jax.Array

MODES = ("triangular", "triangular2", "exp_range")


class Swing(NamedTuple):
    """Where a step is in a cycle: the number of the cycle, from 0, and the way that is made."""

    cycle: Array
    way: Phase


def swing(step: Array, up_steps: Array, down_steps: Array) -> Swing:
    """Goes away in `up_steps` and returns in `down_steps`, in straight lines, forever."""
    period = up_steps + down_steps
    cycle = step // period
    at = step - cycle * period
    away, back = phase(at, up_steps), phase(at, down_steps, up_steps)
    rising = at < up_steps
    where = namespace(step).where
    done, left = where(rising, away.done, back.left), where(rising, away.left, back.done)
    return Swing(cycle, Phase(done, left))


def amplitude(mode: str, step: Array, cycle: Array, gamma: Array) -> Any:
    """Computes the amplitude of a cycle, as a share of the first one's."""
    if mode == "triangular":
        return namespace(step).ones_like(step)
    return 0.5**cycle if mode == "triangular2" else gamma**step


def part_of(way: Phase, share: Array) -> Phase:
    """Scales the way between two values."""
    return Phase(share * way.done, 1.0 - share * way.done)


@schedule(
    choices={"mode": MODES, "shape": ("linear", "cosine", "sqrt")},
    bounds={"up_steps": "(0, inf)", "down_steps": "[0, inf)", "gamma": "[0, inf)"},
)
def cyclic_schedule(
    step: Array,
    init_value: Number,
    peak_value: Number,
    up_steps: Number,
    down_steps: Number | None = None,
    mode: str = "triangular",
    gamma: Number = 1.0,
    shape: str = "linear",
) -> Array:
    """Swings between `init_value` and a peak, forever.

        cycle = floor(step / (up_steps + down_steps))
        value = init_value + a w (peak_value - init_value)

    where w rises from 0 to 1 in `up_steps`, and falls back in `down_steps`, in each cycle. All
    numbers are `()`. `step`, `up_steps` and `down_steps` (`up_steps` where it is None) are in
    updates, counted from 0; `gamma` has no unit.

    Args:
      mode: a of a cycle: `"triangular"`, 1; `"triangular2"`, half as much in each cycle as in
        the one before; `"exp_range"`, gamma^step.
      shape: w along `"linear"`, straight lines; `"cosine"`, half a cosine each; `"sqrt"`, the
        root of the line.

    Differences: optax has no such schedule. torch's CyclicLR is this one with `"linear"`, and
    its CosineAnnealingLR this one with `"cosine"`, from the initial rate to eta_min in T_max.

    Raises:
      ValueError: up_steps is not positive, down_steps or gamma < 0, or another mode or shape.

    Example:
      >>> s = cyclic_schedule(0.0, 1.0, 2, 4, mode="triangular2")
      >>> [float(s(i)) for i in (0, 1, 2, 4, 6, 8, 12)]
      [0.0, 0.5, 1.0, 0.5, 0.0, 0.5, 0.0]

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section
    3, arXiv:1506.01186.
    """
    cycle, way = swing(step, up_steps, up_steps if down_steps is None else down_steps)
    share = amplitude(mode, step, cycle, gamma)
    return between(init_value, peak_value, part_of(SHAPES[shape](way), share))
