"""Prints a schedule as a table with bars."""

import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..core.protocol import Schedule

__all__ = ["schedule_table"]

_ROWS = 21
_WIDTH = 40


def schedule_table(schedule: Schedule, steps: int | Sequence[int]) -> str:
    """Writes the values of a schedule as text, with a bar in proportion to each value.

    Args:
      schedule: any function of a step.
      steps: the steps to show; or a number n, for up to 21 evenly spaced steps from 0 to n - 1,
        including both.

    Returns:
      One line for each step: the step, the value, and its bar. Bars start at the least value
      shown, or at 0 if that is less, and the greatest value has the longest.

    Raises:
      ValueError: there are no steps.

    Example:
      >>> import functional_optim as fo
      >>> print(fo.schedule_table(fo.linear_schedule(1.0, 0.0, 4), 5))
      0  1     ########################################
      1  0.75  ##############################
      2  0.5   ####################
      3  0.25  ##########
      4  0
    """
    chosen = np.asarray(_spaced(steps) if isinstance(steps, (int, np.integer)) else list(steps))
    if not chosen.size:
        raise ValueError("schedule_table: steps must not be empty. Pass a number of at least 1.")
    values = np.asarray([_value(schedule, step) for step in chosen], np.float64)
    numbers = [f"{value:.4g}" for value in values]
    column, wide = len(str(chosen.max())), max(map(len, numbers))
    # Bars start at 0, or at the least value if that is negative.
    low = np.nanmin(np.append(values, 0.0), initial=0.0)
    span = max(np.nanmax(values, initial=0.0) - low, np.finfo(np.float64).tiny)
    lengths = np.nan_to_num(_WIDTH * (values - low) / span)
    rows = zip(chosen, numbers, lengths, strict=True)
    lines = (f"{step:>{column}}  {text:<{wide}}  {'#' * round(size)}" for step, text, size in rows)
    return "\n".join(line.rstrip() for line in lines)


def _spaced(count: int) -> Sequence[int]:
    last = operator.index(count) - 1
    return sorted(
        {round(last * i / (_ROWS - 1)) for i in range(_ROWS)} if last > 0 else range(count)
    )


def _value(schedule: Schedule, step: int) -> float:
    return float(jax.device_get(schedule(jnp.asarray(step))))
