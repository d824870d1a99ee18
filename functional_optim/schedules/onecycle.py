"""The 1cycle policy: one rise to a peak, and a fall far below the start."""

import jax
import jax.numpy as jnp

from ..core.rules.schedule import Number, schedule
from .phases import SHAPES, cosine, interpolate_through, linear

__all__ = [
    "boundaries",
    "cosine_onecycle_schedule",
    "linear_onecycle_schedule",
    "onecycle_schedule",
]

Array = jax.Array

_BOUNDS = {
    "transition_steps": "[0, inf)",
    "pct_start": "[0, 1]",
    "pct_final": "[0, 1]",
    "div_factor": "(0, inf)",
    "final_div_factor": "(0, inf)",
}


def _whole(steps: Array, share: Array) -> Array:
    """Returns a share of the steps, rounded down to whole updates."""
    # The factor makes up for rounding, so that 0.29 of 100 is 29 in every precision.
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

    Args:
      transition_steps: number of updates of all phases.
      pct_final: share of the updates after which the value is the first value again.
      See `cosine_onecycle_schedule` for the others.

    Differences: a phase of 0 steps is skipped; in optax equal boundaries replace one another, and
    transition_steps = 0 is an error. torch's OneCycleLR is `onecycle_schedule`.

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
    return interpolate_through(step, (peak, back, transition_steps), values, linear)


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

    Args:
      transition_steps: number of updates of both phases.
      peak_value: the value at the peak.
      pct_start: share of the updates that the rise takes, in [0, 1].
      div_factor: ratio of the peak to the first value.
      final_div_factor: ratio of the first value to the last.

    Differences: a phase of 0 steps is skipped; in optax transition_steps = 0 is an error. torch's
    OneCycleLR is `onecycle_schedule`.

    Raises:
      ValueError: transition_steps < 0, pct_start outside [0, 1], or a factor that is not
        positive.

    Example:
      >>> s = cosine_onecycle_schedule(20, 1.0, 0.5, div_factor=4.0, final_div_factor=2.0)
      >>> [round(float(s(i)), 6) for i in (0, 5, 10, 20, 99)]
      [0.25, 0.625, 1.0, 0.125, 0.125]

    Reference: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates, SPIE 2019, arXiv:1708.07120, with straight lines.
    """
    low = peak_value / div_factor
    peak = _whole(transition_steps, pct_start)
    values = (low, peak_value, low / final_div_factor)
    return interpolate_through(step, (peak, transition_steps), values, cosine)


def boundaries(total_steps: Array, pct_start: Array, three_phase: bool) -> tuple[Array, ...]:
    """Returns the steps at which the phases of torch's cycle end, the last at total_steps - 1."""
    peak = pct_start * total_steps - 1.0
    back = (2.0 * pct_start * total_steps - 2.0,) if three_phase else ()
    return (peak, *back, total_steps - 1.0)


@schedule(
    static=("three_phase",),
    choices={"anneal_strategy": ("cos", "linear")},
    bounds={k: v for k, v in _BOUNDS.items() if k.endswith("factor")}
    | {"total_steps": "[1, inf)", "pct_start": "[0, 1]"},
)
def onecycle_schedule(
    step: Array,
    total_steps: Number,
    peak_value: Number,
    pct_start: Number = 0.3,
    anneal_strategy: str = "cos",
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
    three_phase: bool = False,
) -> Array:
    """Rises to a peak and falls far below the start, as torch's OneCycleLR does.

        step                                value
        0                                   peak_value / div_factor
        pct_start total_steps - 1           peak_value
        2 pct_start total_steps - 2         peak_value / div_factor, with `three_phase`
        total_steps - 1                     peak_value / (div_factor final_div_factor)

    All numbers are `()`. `step` and `total_steps` are in updates, counted from 0: update
    `total_steps - 1` is the last, and the value does not change after it. The inner boundaries
    need not be whole. `pct_start`, a share of the whole, and the two factors have no unit.

    Args:
      total_steps: number of updates, from the first value to the last.
      anneal_strategy: the shape between the boundaries: `"cos"`, half a cosine, or `"linear"`.
      three_phase: whether to return to the start in as many updates as the rise took.
      See `cosine_onecycle_schedule` for the others.

    Differences: optax's `cosine_onecycle_schedule` and `linear_onecycle_schedule` round their
    boundaries, and end one update later. torch goes below the minimum in the update after the
    last, and then raises.

    Raises:
      ValueError: total_steps < 1, pct_start outside [0, 1], a factor that is not positive, or
        an unknown anneal_strategy.

    Example:
      >>> s = onecycle_schedule(10, 1.0, 0.5, "linear", div_factor=4.0, final_div_factor=2.0)
      >>> [round(float(s(i)), 6) for i in (0, 2, 4, 9, 99)]
      [0.25, 0.625, 1.0, 0.125, 0.125]

    Reference: Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates, SPIE 2019, where it is called 1cycle, arXiv:1708.07120.
    """
    low = peak_value / div_factor
    values = (low, peak_value, *((low,) if three_phase else ()), low / final_div_factor)
    shape = SHAPES["cosine" if anneal_strategy == "cos" else "linear"]
    return interpolate_through(step, boundaries(total_steps, pct_start, three_phase), values, shape)
