"""Schedules that move between two values in cycles."""

from typing import NamedTuple

import jax

from ..core.numerics.array_namespace import namespace
from ..core.rules.schedule import Number, schedule
from .phases import SHAPES, Phase, interpolate, phase

__all__ = ["MODES", "Swing", "amplitude", "cyclic_schedule", "swing"]

Array = jax.Array

MODES = ("triangular", "triangular2", "exp_range")


class Swing(NamedTuple):
    """The position of a step: the index of its cycle, and its progress to the second value."""

    cycle: Array
    progress: Phase


def swing(step: Array, up_steps: Array, down_steps: Array) -> Swing:
    """Computes the position of a step in cycles that rise and fall in straight lines."""
    period = up_steps + down_steps
    cycle = step // period
    elapsed = step - cycle * period
    up, down = phase(elapsed, up_steps), phase(elapsed, down_steps, up_steps)
    rising = elapsed < up_steps
    where = namespace(step).where
    done, left = where(rising, up.done, down.left), where(rising, up.left, down.done)
    return Swing(cycle, Phase(done, left))


def amplitude(mode: str, step: Array, cycle: Array, gamma: Array) -> Array:
    """Computes the amplitude of a cycle, relative to the first cycle."""
    if mode == "triangular":
        return namespace(step).ones_like(step)
    return 0.5**cycle if mode == "triangular2" else gamma**step


def part_of(progress: Phase, share: Array) -> Phase:
    """Multiplies the progress between two values by a share."""
    return Phase(share * progress.done, 1.0 - share * progress.done)


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
    """Rises from `init_value` to a peak and falls back, in cycles without end.

        cycle = floor(step / (up_steps + down_steps))
        value = init_value + a w (peak_value - init_value)

    where w rises from 0 to 1 in `up_steps`, and falls back in `down_steps`, in each cycle. All
    numbers are `()`. `step`, `up_steps` and `down_steps` (`up_steps` where it is None) are in
    updates, counted from 0; `gamma` has no unit.

    Args:
      init_value: the value at the start of each cycle.
      peak_value: the value at the peak of the first cycle.
      up_steps: number of updates of the rise.
      down_steps: number of updates of the fall; None for up_steps.
      mode: the amplitude a: `"triangular"`, 1; `"triangular2"`, half the amplitude of the previous
        cycle; `"exp_range"`, gamma^step.
      gamma: factor of the amplitude from one update to the next, for `"exp_range"`.
      shape: the shape of w: `"linear"`, straight lines; `"cosine"`, half a cosine for each
        direction; `"sqrt"`, the square root of the line.

    Differences: optax has no such schedule. It is torch's CyclicLR with `"linear"`, and torch's
    CosineAnnealingLR with `"cosine"`, from the initial learning rate to eta_min in T_max updates.

    Raises:
      ValueError: up_steps is not positive, down_steps or gamma < 0, or mode or shape is unknown.

    Example:
      >>> s = cyclic_schedule(0.0, 1.0, 2, 4, mode="triangular2")
      >>> [float(s(i)) for i in (0, 1, 2, 4, 6, 8, 12)]
      [0.0, 0.5, 1.0, 0.5, 0.0, 0.5, 0.0]

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section
    3, arXiv:1506.01186.
    """
    cycle, progress = swing(step, up_steps, up_steps if down_steps is None else down_steps)
    share = amplitude(mode, step, cycle, gamma)
    return interpolate(init_value, peak_value, part_of(SHAPES[shape](progress), share))
