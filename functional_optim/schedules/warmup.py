"""Schedules that rise to a peak in a straight line before they stay or decay."""

import jax
import jax.numpy as jnp

from ..core.rules.schedule import Number, schedule
from .decay import exponential_decay
from .phases import after_warmup, cosine, interpolate, linear_ramp, phase, raised

__all__ = [
    "inverse_sqrt_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]

Array = jax.Array


@schedule(bounds={"warmup_steps": "[0, inf)"})
def warmup_constant_schedule(
    step: Array, init_value: Number, peak_value: Number, warmup_steps: Number
) -> Array:
    """Rises from `init_value` to `peak_value` in `warmup_steps`, and stays.

        value = init_value + (peak_value - init_value) min(1, step / warmup_steps)

    All arguments are `()`. `step` and `warmup_steps` are in updates, counted from 0: the
    first update has `init_value`, and the one after `warmup_steps` has `peak_value`.

    Args:
      init_value: the value at step 0.
      peak_value: the value at the end of the warmup, and after it.
      warmup_steps: number of updates of the warmup.

    Differences: with warmup_steps = 0 the value is `peak_value`; in optax it is `init_value`.

    Raises:
      ValueError: warmup_steps < 0.

    Example:
      >>> s = warmup_constant_schedule(0.0, 1.0, 4)
      >>> [float(s(i)) for i in (0, 1, 4, 9)]
      [0.0, 0.25, 1.0, 1.0]
    """
    return linear_ramp(step, init_value, peak_value, warmup_steps)


@schedule(
    bounds={"warmup_steps": "[0, inf)", "decay_steps": "[0, inf)", "exponent": "[0, inf)"},
    ordered=("warmup_steps", "decay_steps"),
)
def warmup_cosine_decay_schedule(
    step: Array,
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    exponent: Number = 1.0,
) -> Array:
    """Rises to `peak_value` in a straight line, then falls to `end_value` along half a cosine.

        done   = min(1, (step - warmup_steps) / (decay_steps - warmup_steps))
        value  = end_value + (peak_value - end_value) ((1 + cos(pi done)) / 2)^exponent

    from step `warmup_steps` on; before it, a line from `init_value`. All arguments are `()`.
    `step`, `warmup_steps` and `decay_steps` are in updates, counted from 0; `decay_steps`
    includes the warmup. `exponent` has no unit.

    Args:
      init_value: the value at step 0.
      peak_value: the value at the end of the warmup.
      warmup_steps: number of updates of the warmup.
      decay_steps: number of updates of the warmup and of the decay together.
      end_value: the value at the end, and after it.
      exponent: power of the cosine; 1 for the cosine itself.

    Differences: a decay of 0 steps ends at its start; in optax it is an error. A peak of 0
    decays to `end_value` like any other peak; in optax it stays 0.

    Raises:
      ValueError: warmup_steps or exponent < 0, or decay_steps < warmup_steps.

    Example:
      >>> s = warmup_cosine_decay_schedule(0.0, 1.0, 2, 6, end_value=0.5)
      >>> [round(float(s(i)), 6) for i in (0, 1, 2, 4, 6, 9)]
      [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]

    Reference: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts,
    ICLR 2017, equation 5, arXiv:1608.03983, for the cosine.
    """
    weights = raised(cosine(phase(step, decay_steps - warmup_steps, warmup_steps)), exponent)
    decay = interpolate(peak_value, end_value, weights)
    return after_warmup(step, init_value, peak_value, warmup_steps, decay)


@schedule(
    static=("staircase",),
    bounds={
        "warmup_steps": "[0, inf)",
        "transition_steps": "(0, inf)",
        "decay_rate": "(0, inf)",
        "transition_begin": "[0, inf)",
    },
)
def warmup_exponential_decay_schedule(
    step: Array,
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    transition_steps: Number,
    decay_rate: Number,
    transition_begin: Number = 0,
    staircase: bool = False,
    end_value: Number | None = None,
) -> Array:
    """Rises to `peak_value` in a straight line, then decays as `exponential_decay` does.

    All arguments are `()`. `step` and `warmup_steps` are in updates, counted from 0;
    `transition_begin` is counted from the end of the warmup. See `exponential_decay` for the
    differences; `end_value` bounds the decay, not the warmup.

    Args:
      init_value: the value at step 0.
      peak_value: the value at the end of the warmup, from which it decays.
      warmup_steps: number of updates of the warmup.
      transition_begin: number of updates between the warmup and the decay.
      See `exponential_decay` for the others.

    Raises:
      ValueError: transition_steps or decay_rate is not positive, or warmup_steps or
        transition_begin < 0.

    Example:
      >>> s = warmup_exponential_decay_schedule(0.0, 1.0, 2, 10, 0.25)
      >>> [float(s(i)) for i in (0, 1, 2, 7, 12)]
      [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    decay = exponential_decay.maths(
        step - warmup_steps,
        peak_value,
        transition_steps,
        decay_rate,
        transition_begin,
        staircase,
        end_value,
    )
    return after_warmup(step, init_value, peak_value, warmup_steps, decay)


@schedule(bounds={"warmup_steps": "[0, inf)"})
def inverse_sqrt_schedule(
    step: Array, init_value: Number, peak_value: Number, warmup_steps: Number
) -> Array:
    """Rises to `peak_value` in a straight line, then falls as one over the root of the step.

        value = peak_value sqrt(warmup_steps / step)

    from step `warmup_steps` on; before it, a line from `init_value`. All arguments are `()`.
    `step` and `warmup_steps` are in updates, counted from 0. Without warmup the value is
    `peak_value / sqrt(max(1, step))`. T5's schedule has `init_value = peak_value`.

    Args:
      init_value: the value at step 0.
      peak_value: the value at the end of the warmup.
      warmup_steps: number of updates of the warmup.

    Differences: the paper counts updates from 1, so that its first value is not 0, and its peak
    is `1 / sqrt(d_model warmup_steps)`. optax has no such schedule.

    Raises:
      ValueError: warmup_steps < 0.

    Example:
      >>> s = inverse_sqrt_schedule(0.0, 1.0, 4)
      >>> [float(s(i)) for i in (0, 2, 4, 16)]
      [0.0, 0.5, 1.0, 0.5]

    Reference: Vaswani et al., Attention Is All You Need, NeurIPS 2017, equation 3,
    arXiv:1706.03762.
    """
    scale = jnp.maximum(warmup_steps, 1.0)
    decay = peak_value * jnp.sqrt(scale / jnp.maximum(step, scale))
    return after_warmup(step, init_value, peak_value, warmup_steps, decay)
