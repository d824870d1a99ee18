"""One cycle: up to a peak and down again, far below the start."""

import jax
import jax.numpy as jnp

from ..core.schedule import Number, schedule
from .phases import cosine, linear, through

__all__ = ["cosine_onecycle_schedule", "linear_onecycle_schedule"]

Array = jax.Array

_BOUNDS = {
    "transition_steps": "[0, inf)",
    "pct_start": "[0, 1]",
    "pct_final": "[0, 1]",
    "div_factor": "(0, inf)",
    "final_div_factor": "(0, inf)",
}


def _whole(steps: Array, share: Array) -> Array:
    """A share of the steps, rounded down to whole updates."""
    # Widened by what rounding may have taken: 0.29 of 100 is 29 in every precision.
    return jnp.floor(steps * share * (1.0 + 2.0 * jnp.finfo(steps.dtype).eps))


@schedule(bounds=_BOUNDS, ordered=("pct_start", "pct_final"))
def linear_onecycle_schedule(
    step: Array,
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    pct_final: Number = 0.85,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Array:
    """Rises to a peak, returns to the start, and falls far below it, in straight lines.

        step                            value
        0                               peak_value / div_factor
        pct_start transition_steps      peak_value
        pct_final transition_steps      peak_value / div_factor
        transition_steps                peak_value / (div_factor final_div_factor)

    All arguments are `()`. `step` and `transition_steps` are in updates, counted from 0; the
    two inner boundaries are rounded down to whole updates. `pct_start` and `pct_final`, shares
    of the whole, and the two factors have no unit.

    Differences: a phase of no steps is skipped; in optax equal boundaries replace one
    another, and transition_steps = 0 is an error. torch's OneCycleLR, with
    `three_phase=True`, returns in as many updates as it rises; its boundaries are not rounded
    and come one update earlier.

    Raises:
      ValueError: transition_steps < 0, pct_start or pct_final outside [0, 1], pct_final <
        pct_start, or a factor that is not positive.

    Example:
      >>> s = linear_onecycle_schedule(20, 1.0, 0.25, 0.5, div_factor=4.0, final_div_factor=2.0)
      >>> [float(s(i)) for i in (0, 5, 10, 20, 99)]
      [0.25, 1.0, 0.25, 0.125, 0.125]

    Reference: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates, SPIE 2019, where it is called 1cycle, arXiv:1708.07120.
    """
    low = peak_value / div_factor
    peak, back = _whole(transition_steps, pct_start), _whole(transition_steps, pct_final)
    values = (low, peak_value, low, low / final_div_factor)
    return through(step, (peak, back, transition_steps), values, linear)


@schedule(bounds={k: v for k, v in _BOUNDS.items() if k != "pct_final"})
def cosine_onecycle_schedule(
    step: Array,
    transition_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Array:
    """Rises to a peak and falls far below the start, each along half a cosine.

        step                            value
        0                               peak_value / div_factor
        pct_start transition_steps      peak_value
        transition_steps                peak_value / (div_factor final_div_factor)

    All arguments are `()`. `step` and `transition_steps` are in updates, counted from 0; the
    inner boundary is rounded down to whole updates. `pct_start`, a share of the whole, and the
    two factors have no unit.

    Differences: a phase of no steps is skipped; in optax transition_steps = 0 is an error.
    torch's OneCycleLR has the same shape; its boundaries are not rounded and come one update
    earlier.

    Raises:
      ValueError: transition_steps < 0, pct_start outside [0, 1], or a factor that is not
        positive.

    Example:
      >>> s = cosine_onecycle_schedule(20, 1.0, 0.5, div_factor=4.0, final_div_factor=2.0)
      >>> [round(float(s(i)), 6) for i in (0, 5, 10, 20, 99)]
      [0.25, 0.625, 1.0, 0.125, 0.125]

    Reference: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates, SPIE 2019, arXiv:1708.07120; there the lines are straight.
    """
    low = peak_value / div_factor
    peak = _whole(transition_steps, pct_start)
    values = (low, peak_value, low / final_div_factor)
    return through(step, (peak, transition_steps), values, cosine)
