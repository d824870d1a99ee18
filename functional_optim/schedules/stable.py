"""The trapezoidal schedule: a warmup, a constant phase and a decay."""

import jax

from ..core.rules.schedule import Number, schedule
from .phases import SHAPES, after_warmup, interpolate, phase

__all__ = ["warmup_stable_decay_schedule"]

Array = jax.Array


@schedule(
    choices={"shape": tuple(SHAPES)},
    bounds={"warmup_steps": "[0, inf)", "stable_steps": "[0, inf)", "decay_steps": "[0, inf)"},
)
def warmup_stable_decay_schedule(
    step: Array,
    init_value: Number,
    peak_value: Number,
    warmup_steps: Number,
    stable_steps: Number,
    decay_steps: Number,
    end_value: Number = 0.0,
    shape: str = "linear",
) -> Array:
    """Rises to `peak_value` in a straight line, stays there, and falls to `end_value`.

        done  = (step - warmup_steps - stable_steps) / decay_steps, clipped to [0, 1]
        value = end_value + (peak_value - end_value) w(done)

    from step `warmup_steps` on; before it, a line from `init_value`. All numbers are `()`.
    `step` and the three lengths are in updates, counted from 0; each length is the length of one
    phase, and the schedule takes their sum. A phase of 0 steps is skipped.

    To start the decay during a run, change the state:
    `set_hyperparams(state, {"learning_rate.stable_steps": now - warmup_steps})`.

    Args:
      init_value: the value at step 0.
      peak_value: the value after the warmup, until the decay.
      warmup_steps, stable_steps, decay_steps: numbers of updates of the three phases.
      end_value: the value at the end, and after it.
      shape: the shape of w: `"linear"`, 1 - done; `"cosine"`, (1 + cos(pi done)) / 2; or
        `"sqrt"`, 1 - sqrt(done).

    Differences: the paper's decay is exponential, to a tenth. optax has no such schedule.

    Raises:
      ValueError: a length is negative, or the shape is unknown.

    Example:
      >>> s = warmup_stable_decay_schedule(0.0, 1.0, 2, 4, 4)
      >>> [float(s(i)) for i in (0, 1, 2, 6, 7, 10)]
      [0.0, 0.5, 1.0, 1.0, 0.75, 0.0]

    Reference: Hu et al., MiniCPM: Unveiling the Potential of Small Language Models with
    Scalable Training Strategies, COLM 2024, section 4, arXiv:2404.06395. Hägele et al.,
    Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, NeurIPS 2024,
    arXiv:2405.18392, for `"sqrt"`.
    """
    weights = SHAPES[shape](phase(step, decay_steps, warmup_steps + stable_steps))
    decay = interpolate(peak_value, end_value, weights)
    return after_warmup(step, init_value, peak_value, warmup_steps, decay)
