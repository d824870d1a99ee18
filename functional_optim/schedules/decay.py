"""Schedules that move from one value to another."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.schedule import schedule

__all__ = [
    "constant_schedule",
    "linear_schedule",
    "polynomial_schedule",
    "progress",
]

Array = jax.Array


def progress(step: Array, steps: Array, begin: Any = 0.0) -> Array:
    """Share of a phase that is over, in [0, 1]; a phase of no steps is over from its start."""
    done = jnp.clip((step - begin) / jnp.where(steps > 0, steps, 1.0), 0.0, 1.0)
    return jnp.where(steps > 0, done, jnp.where(step < begin, 0.0, 1.0))


@schedule()
def constant_schedule(step: Array, value: Any) -> Array:
    """The same value at every step."""
    del step
    return value


@schedule(bounds={"transition_steps": "[0, inf)"})
def polynomial_schedule(
    step: Array,
    init_value: Any,
    end_value: Any,
    power: Any,
    transition_steps: Any,
    transition_begin: Any = 0,
) -> Array:
    """Moves from `init_value` to `end_value` as a power of the share that is left.

        end_value + (init_value - end_value) (1 - progress)^power

    All arguments are `()`. `transition_begin` and `transition_steps` count updates; progress
    is 0 until the first and 1 after both. A transition of no steps is over from its start.

    Example:
      >>> s = polynomial_schedule(1.0, 0.0, 2, 4)
      >>> [float(s(i)) for i in (0, 2, 4, 9)]
      [1.0, 0.25, 0.0, 0.0]
    """
    left = 1.0 - progress(step, transition_steps, transition_begin)
    # The inner where keeps the derivative of 0**power finite.
    weight = jnp.where(
        left > 0, jnp.where(left > 0, left, 1.0) ** power, jnp.where(power == 0, 1.0, 0.0)
    )
    return end_value + (init_value - end_value) * weight


@schedule(bounds={"transition_steps": "[0, inf)"})
def linear_schedule(
    step: Array,
    init_value: Any,
    end_value: Any,
    transition_steps: Any,
    transition_begin: Any = 0,
) -> Array:
    """Moves from `init_value` to `end_value` in a straight line.

    All arguments are `()`; see `polynomial_schedule`, of which this is the power 1.

    Example:
      >>> s = linear_schedule(0.0, 1.0, 4, transition_begin=2)
      >>> [float(s(i)) for i in (0, 2, 3, 6, 9)]
      [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    return init_value + (end_value - init_value) * progress(
        step, transition_steps, transition_begin
    )
