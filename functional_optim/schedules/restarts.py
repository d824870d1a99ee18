"""Cosine decay with restarts."""

from typing import NamedTuple

import jax

from ..core.numerics.array_namespace import namespace
from ..core.rules.schedule import Number, schedule
from .phases import cosine, interpolate, phase

__all__ = ["Restart", "cosine_restarts_schedule", "last_restart"]

Array = jax.Array


class Restart(NamedTuple):
    """A cycle: the step at which it begins, and its number of steps."""

    begin: Array
    steps: Array


def last_restart(step: Array, first_steps: Array, growth: Array) -> Restart:
    """Finds the cycle of a step, where each cycle is `growth` times as long as the one before."""
    xp = namespace(step)
    grows = growth > 1
    factor = xp.where(grows, growth, 2.0)  # The branch that is not selected must be finite too.

    def begin(n: Array) -> Array:
        cycles = xp.where(grows, (factor**n - 1.0) / (factor - 1.0), n)
        return xp.round(first_steps * cycles)

    ratio = step / first_steps
    n = xp.floor(xp.where(grows, xp.log1p(ratio * (factor - 1.0)) / xp.log(factor), ratio))
    # Rounding of the logarithms may give the cycle before or after.
    n = n + xp.where(begin(n + 1.0) <= step, 1.0, 0.0) - xp.where(begin(n) > step, 1.0, 0.0)
    return Restart(begin(n), begin(n + 1.0) - begin(n))


@schedule(bounds={"first_steps": "[1, inf)", "growth": "[1, inf)"})
def cosine_restarts_schedule(
    step: Array,
    init_value: Number,
    first_steps: Number,
    growth: Number = 1.0,
    end_value: Number = 0.0,
) -> Array:
    """Falls to `end_value` along half a cosine, and restarts without end.

        begin_n = first_steps (1 + growth + ... + growth^(n - 1)), rounded to whole updates
        done    = (step - begin_n) / (begin_(n + 1) - begin_n)
        value   = end_value + (init_value - end_value) (1 + cos(pi done)) / 2

    where n is the last cycle that has begun. All arguments are `()`. `step` and `first_steps`,
    the length of the first cycle, are in updates, counted from 0; `growth` has no unit.

    See `sgdr_schedule` for cycles with a warmup, or with different peaks.

    Args:
      init_value: the value at the start of each cycle.
      first_steps: number of updates of the first cycle.
      growth: ratio of the length of a cycle to the length of the previous cycle.
      end_value: the value to which each cycle falls.

    Differences: `first_steps` and `growth` are the paper's T_0 and T_mult. optax has no such
    schedule.

    Raises:
      ValueError: first_steps or growth < 1.

    Example:
      >>> s = cosine_restarts_schedule(1.0, 2, growth=2)
      >>> [round(float(s(i)), 6) for i in (0, 1, 2, 4, 6, 10, 14)]
      [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0]

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983.
    """
    begin, steps = last_restart(step, first_steps, growth)
    return interpolate(init_value, end_value, cosine(phase(step, steps, begin)))
