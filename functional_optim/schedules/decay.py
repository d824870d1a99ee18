"""Schedules that move from one value to another."""

import jax
import jax.numpy as jnp

from ..core.numerics.array_namespace import namespace
from ..core.rules.schedule import Number, schedule
from .phases import cosine, interpolate, phase, raised

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "linear_schedule",
    "polynomial_schedule",
]

Array = jax.Array


@schedule()
def constant_schedule(step: Array, value: Number) -> Array:
    """Makes a schedule with the same value at every step.

    Unlike a number, it is a schedule in the state, whose hyperparameter is `learning_rate.value`.

    Args:
      value: the value at all steps.

    Example:
      >>> float(constant_schedule(0.5)(1000))
      0.5
    """
    return jnp.broadcast_to(value, step.shape)


@schedule(
    bounds={"power": "[0, inf)", "transition_steps": "[0, inf)", "transition_begin": "[0, inf)"}
)
def polynomial_schedule(
    step: Array,
    init_value: Number,
    end_value: Number,
    power: Number,
    transition_steps: Number,
    transition_begin: Number = 0,
) -> Array:
    """Moves from `init_value` to `end_value` by a power of the remaining share.

        done  = (step - transition_begin) / transition_steps, clipped to [0, 1]
        value = end_value + (init_value - end_value) (1 - done)^power

    All arguments are `()`. `step`, `transition_begin` and `transition_steps` are in updates,
    counted from 0; `init_value`, `end_value` and the result are in units of the scheduled
    hyperparameter; `power` has no unit.

    Args:
      init_value: the value until transition_begin.
      end_value: the value at the end, and after it.
      power: power of the remaining share; 1 for a straight line.
      transition_steps: number of updates from one value to the other.
      transition_begin: the update after which the value changes.

    Differences: a transition of 0 steps ends at its start; in optax it never starts, and the
    value stays `init_value`. Negative numbers of steps are errors; optax treats them as 0. In
    jitted programs optax's 1 - done may round to less than 0 at the end, and then a fractional
    power is NaN; here the end is exact.

    Raises:
      ValueError: power, transition_steps or transition_begin < 0.

    Example:
      >>> s = polynomial_schedule(1.0, 0.0, 2, 4)
      >>> [float(s(i)) for i in (0, 2, 4, 9)]
      [1.0, 0.25, 0.0, 0.0]
    """
    weights = raised(phase(step, transition_steps, transition_begin), power)
    return interpolate(init_value, end_value, weights)


@schedule(bounds={"transition_steps": "[0, inf)", "transition_begin": "[0, inf)"})
def linear_schedule(
    step: Array,
    init_value: Number,
    end_value: Number,
    transition_steps: Number,
    transition_begin: Number = 0,
) -> Array:
    """Moves from `init_value` to `end_value` in a straight line.

    It is `polynomial_schedule` with power 1; see there for the differences.

    Args:
      See `polynomial_schedule`.

    Raises:
      ValueError: transition_steps or transition_begin < 0.

    Example:
      >>> s = linear_schedule(0.0, 1.0, 4, transition_begin=2)
      >>> [float(s(i)) for i in (0, 2, 3, 6, 9)]
      [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    return interpolate(init_value, end_value, phase(step, transition_steps, transition_begin))


@schedule(
    static=("staircase",),
    bounds={
        "transition_steps": "(0, inf)",
        "decay_rate": "(0, inf)",
        "transition_begin": "[0, inf)",
    },
)
def exponential_decay(
    step: Array,
    init_value: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Array:
    """Multiplies a value by `decay_rate` over every `transition_steps`.

        periods = max(0, step - transition_begin) / transition_steps
        value   = init_value decay_rate^periods

    All arguments are `()`. `step`, `transition_steps` and `transition_begin` are in updates,
    counted from 0; `decay_rate` has no unit; the values are in units of the
    scheduled hyperparameter.

    Args:
      init_value: the value until transition_begin.
      transition_steps: number of updates in which the value is multiplied by decay_rate.
      decay_rate: the factor.
      transition_begin: the update after which the value changes.
      staircase: whether to count whole periods only, so that the value changes in steps.
      end_value: the least value if decay_rate < 1, else the greatest; None for no limit.

    Differences: optax always returns `init_value` where transition_steps or decay_rate is 0;
    here both are errors.

    Raises:
      ValueError: transition_steps or decay_rate is not positive, or transition_begin < 0.

    Example:
      >>> s = exponential_decay(1.0, 10, 0.5, staircase=True, end_value=0.25)
      >>> [float(s(i)) for i in (0, 9, 10, 25, 99)]
      [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    xp = namespace(step)
    elapsed = xp.maximum(step - transition_begin, 0.0)
    # Accelerators round quotients, so the floor of 30 / 10 may be 2; floor_divide is exact.
    divide = xp.floor_divide if staircase else xp.divide
    value = init_value * decay_rate ** divide(elapsed, transition_steps)
    if end_value is None:
        return value
    return xp.where(decay_rate < 1, xp.maximum(value, end_value), xp.minimum(value, end_value))


@schedule(bounds={"decay_steps": "[0, inf)", "exponent": "[0, inf)"})
def cosine_decay_schedule(
    step: Array,
    init_value: Number,
    decay_steps: Number,
    alpha: Number = 0.0,
    exponent: Number = 1.0,
) -> Array:
    """Falls from `init_value` to `alpha init_value` along half a cosine.

        done  = min(1, step / decay_steps)
        value = init_value (alpha + (1 - alpha) ((1 + cos(pi done)) / 2)^exponent)

    All arguments are `()`. `step` and `decay_steps` are in updates, counted from 0; `alpha`,
    the share of `init_value` that remains, and `exponent` have no unit.

    Args:
      init_value: the value at step 0.
      decay_steps: number of updates of the decay.
      alpha: share of init_value that remains.
      exponent: power of the cosine; 1 for the cosine itself.

    Differences: a decay of 0 steps ends at its start; in optax it is an error. Near the end,
    where 1 + cos cancels in float32, the value here keeps its digits.

    Raises:
      ValueError: decay_steps or exponent < 0.

    Example:
      >>> s = cosine_decay_schedule(1.0, 4, alpha=0.5)
      >>> [round(float(s(i)), 6) for i in (0, 2, 4, 9)]
      [1.0, 0.75, 0.5, 0.5]

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983.
    """
    weights = raised(cosine(phase(step, decay_steps)), exponent)
    return interpolate(init_value, alpha * init_value, weights)
