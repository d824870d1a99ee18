"""Schedules with their arguments, and the values of the papers' formulas in float64."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import functional_optim as fo

STEPS = range(45)


def share(t: int, steps: float, begin: float = 0) -> float:
    if t < begin:
        return 0.0
    return 1.0 if steps == 0 else min(1.0, (t - begin) / steps)


def polynomial(t, init_value, end_value, power, transition_steps, transition_begin=0):
    left = 1 - share(t, transition_steps, transition_begin)
    return (init_value - end_value) * left**power + end_value


def linear(t, init_value, end_value, transition_steps, transition_begin=0):
    return polynomial(t, init_value, end_value, 1, transition_steps, transition_begin)


def exponential(
    t,
    init_value,
    transition_steps,
    decay_rate,
    transition_begin=0,
    staircase=False,
    end_value=None,
):
    elapsed = max(0, t - transition_begin)
    periods = elapsed // transition_steps if staircase else elapsed / transition_steps
    value = init_value * math.exp(periods * math.log(decay_rate))
    if end_value is None:
        return value
    return max(value, end_value) if decay_rate < 1 else min(value, end_value)


def precond_update_prob(t, max_prob=1.0, min_prob=0.03, decay=0.001, flat_start=500):
    return max(min_prob, max_prob * math.exp(-decay * max(0, t - flat_start)))


def cosine(t, init_value, decay_steps, alpha=0.0, exponent=1.0):
    wave = (1 + math.cos(math.pi * share(t, decay_steps))) / 2
    return init_value * ((1 - alpha) * max(wave, 0.0) ** exponent + alpha)


def warmup(t, init_value, peak_value, warmup_steps):
    return linear(t, init_value, peak_value, warmup_steps)


def warmup_cosine(
    t, init_value, peak_value, warmup_steps, decay_steps, end_value=0.0, exponent=1.0
):
    if t < warmup_steps:
        return warmup(t, init_value, peak_value, warmup_steps)
    wave = cosine(t - warmup_steps, 1.0, decay_steps - warmup_steps, 0.0, exponent)
    return end_value + (peak_value - end_value) * wave


def warmup_exponential(t, init_value, peak_value, warmup_steps, *args, **kwargs):
    if t < warmup_steps:
        return warmup(t, init_value, peak_value, warmup_steps)
    return exponential(t - warmup_steps, peak_value, *args, **kwargs)


def inverse_sqrt(t, init_value, peak_value, warmup_steps):
    if t < warmup_steps:
        return warmup(t, init_value, peak_value, warmup_steps)
    return peak_value * max(1, warmup_steps) ** 0.5 * max(1, t) ** -0.5


def stable_decay(
    t,
    init_value,
    peak_value,
    warmup_steps,
    stable_steps,
    decay_steps,
    end_value=0.0,
    shape="linear",
):
    if t < warmup_steps:
        return warmup(t, init_value, peak_value, warmup_steps)
    done = share(t, decay_steps, warmup_steps + stable_steps)
    weight = {
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "sqrt": 1 - math.sqrt(done),
    }[shape]
    return end_value + (peak_value - end_value) * weight


def through(t, boundaries, values, wave=None):
    """Interpolates with NumPy, along half a cosine where asked."""
    if wave is None:
        return float(np.interp(t, boundaries, values))
    i = int(np.searchsorted(boundaries, t, side="right")) - 1
    if i == len(values) - 1:
        return values[-1]
    done = (t - boundaries[i]) / (boundaries[i + 1] - boundaries[i])
    return values[i + 1] + (values[i] - values[i + 1]) * (1 + math.cos(math.pi * done)) / 2


def linear_onecycle(
    t, transition_steps, peak_value, pct_start=0.3, pct_final=0.85, div_factor=25.0,
    final_div_factor=1e4,
):  # fmt: skip
    low = peak_value / div_factor
    boundaries = [0, *(int(p * transition_steps) for p in (pct_start, pct_final, 1))]
    return through(t, boundaries, [low, peak_value, low, low / final_div_factor])


def cosine_onecycle(
    t, transition_steps, peak_value, pct_start=0.3, div_factor=25.0, final_div_factor=1e4
):
    low = peak_value / div_factor
    boundaries = [0, int(pct_start * transition_steps), transition_steps]
    return through(t, boundaries, [low, peak_value, low / final_div_factor], "cosine")


def cyclic(
    t, init_value, peak_value, up_steps, down_steps=None, mode="triangular", gamma=1.0,
    shape="linear",
):  # fmt: skip
    down = up_steps if down_steps is None else down_steps
    cycle, at = divmod(t, up_steps + down)
    way = at / up_steps if at < up_steps else 1 - (at - up_steps) / down
    way = {"linear": way, "cosine": (1 - math.cos(math.pi * way)) / 2, "sqrt": math.sqrt(way)}
    height = {"triangular": 1, "triangular2": 2.0**-cycle, "exp_range": gamma**t}[mode]
    return init_value + (peak_value - init_value) * height * way[shape]


def cosine_restarts(t, init_value, first_steps, growth=1.0, end_value=0.0):
    begins = [0]
    while begins[-1] <= t:
        begins.append(round(sum(first_steps * growth**i for i in range(len(begins)))))
    *_, begin, end = begins
    wave = (1 + math.cos(math.pi * (t - begin) / (end - begin))) / 2
    return end_value + (init_value - end_value) * wave


def onecycle(
    t, total_steps, peak_value, pct_start=0.3, anneal_strategy="cos", div_factor=25.0,
    final_div_factor=1e4, three_phase=False,
):  # fmt: skip
    low = peak_value / div_factor
    rise, last = pct_start * total_steps, total_steps - 1
    boundaries, values = [0, rise - 1], [low, peak_value]
    if three_phase:
        boundaries, values = [*boundaries, 2 * rise - 2], [*values, low]
    wave = "cosine" if anneal_strategy == "cos" else None
    return through(t, [*boundaries, last], [*values, low / final_div_factor], wave)


def piecewise_constant(t, init_value, boundaries_and_scales=None):
    reached = [scale for step, scale in (boundaries_and_scales or {}).items() if step <= t]
    return init_value * math.prod(reached)


def piecewise_interpolate(t, interpolate_type, init_value, boundaries_and_scales=None):
    steps = sorted(boundaries_and_scales or {})
    scales = [boundaries_and_scales[step] for step in steps]
    values = [float(v) for v in np.cumprod([init_value, *scales])]
    return through(t, [0, *steps], values, None if interpolate_type == "linear" else "cosine")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    oracle: Callable[..., float]
    arguments: Mapping[str, Any]
    agrees: bool = True
    """Whether optax has the schedule, and the same values."""

    def make(self, **changed: Any) -> Any:
        return getattr(fo, self.name)(**{**self.arguments, **changed})

    def optax(self, steps: Any) -> np.ndarray:
        # optax promotes types and ranks as it goes. Not jitted: its polynomial would be NaN.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            made = getattr(optax, self.name)(**self.arguments)
            at_each = jax.vmap(lambda t: jnp.asarray(made(t)))
            return np.asarray(at_each(jnp.array(steps)))

    def expected(self, steps: Any = STEPS, **changed: Any) -> np.ndarray:
        arguments = {**self.arguments, **changed}
        return np.array([self.oracle(t, **arguments) for t in steps])

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.arguments.items())})"


def case(name: str, oracle: Callable[..., float], /, *, agrees: bool = True, **arguments: Any):
    return Case(name, oracle, arguments, agrees)


PEAK = {"init_value": 0.01, "peak_value": 0.3}
SCALES = {20: 0.5, 7: 0.25, 33: 3.0}

CASES = [
    case("constant_schedule", lambda t, value: value, value=0.3),
    case("linear_schedule", linear, init_value=0.1, end_value=1e-5, transition_steps=13),
    case("linear_schedule", linear, init_value=0.0, end_value=2.0, transition_steps=9,
         transition_begin=5),
    case("polynomial_schedule", polynomial, init_value=1.0, end_value=0.1, power=2.5,
         transition_steps=30, transition_begin=4),
    case("polynomial_schedule", polynomial, init_value=0.1, end_value=1.0, power=0.5,
         transition_steps=30),
    case("polynomial_schedule", polynomial, init_value=0.1, end_value=1.0, power=0,
         transition_steps=10),
    case("exponential_decay", exponential, init_value=0.5, transition_steps=7, decay_rate=0.3),
    case("exponential_decay", exponential, init_value=0.5, transition_steps=7, decay_rate=0.3,
         transition_begin=6, staircase=True, end_value=0.02),
    case("exponential_decay", exponential, init_value=0.5, transition_steps=7, decay_rate=1.3,
         end_value=1.5),
    case("precond_update_prob_schedule", precond_update_prob, max_prob=0.9, min_prob=0.1,
         decay=0.125, flat_start=7, agrees=False),
    case("cosine_decay_schedule", cosine, init_value=0.3, decay_steps=40),
    case("cosine_decay_schedule", cosine, init_value=0.3, decay_steps=31, alpha=0.1, exponent=1.7),
    case("warmup_constant_schedule", warmup, **PEAK, warmup_steps=11),
    case("warmup_cosine_decay_schedule", warmup_cosine, **PEAK, warmup_steps=11, decay_steps=40),
    case("warmup_cosine_decay_schedule", warmup_cosine, **PEAK, warmup_steps=0, decay_steps=29,
         end_value=0.05, exponent=2.0),
    case("warmup_cosine_decay_schedule", warmup_cosine, init_value=0.1, peak_value=0.0,
         warmup_steps=5, decay_steps=29, end_value=0.2, agrees=False),
    case("warmup_exponential_decay_schedule", warmup_exponential, **PEAK, warmup_steps=11,
         transition_steps=8, decay_rate=0.6, transition_begin=3, end_value=0.1),
    case("warmup_exponential_decay_schedule", warmup_exponential, **PEAK, warmup_steps=0,
         transition_steps=8, decay_rate=0.6, staircase=True),
    case("inverse_sqrt_schedule", inverse_sqrt, **PEAK, warmup_steps=10, agrees=False),
    case("warmup_stable_decay_schedule", stable_decay, **PEAK, warmup_steps=6, stable_steps=14,
         decay_steps=17, end_value=0.02, agrees=False),
    case("warmup_stable_decay_schedule", stable_decay, **PEAK, warmup_steps=6, stable_steps=14,
         decay_steps=17, shape="cosine", agrees=False),
    case("warmup_stable_decay_schedule", stable_decay, **PEAK, warmup_steps=6, stable_steps=14,
         decay_steps=17, end_value=0.02, shape="sqrt", agrees=False),
    case("linear_onecycle_schedule", linear_onecycle, transition_steps=40, peak_value=0.3),
    case("linear_onecycle_schedule", linear_onecycle, transition_steps=37, peak_value=0.3,
         pct_start=0.41, pct_final=0.77, div_factor=4.0, final_div_factor=3.0),
    case("cosine_onecycle_schedule", cosine_onecycle, transition_steps=40, peak_value=0.3),
    case("cosine_onecycle_schedule", cosine_onecycle, transition_steps=37, peak_value=0.3,
         pct_start=0.41, div_factor=4.0, final_div_factor=3.0),
    case("onecycle_schedule", onecycle, total_steps=40, peak_value=0.3, agrees=False),
    case("onecycle_schedule", onecycle, total_steps=37, peak_value=0.3, pct_start=0.4,
         anneal_strategy="linear", div_factor=4.0, final_div_factor=3.0, three_phase=True,
         agrees=False),
    case("cyclic_schedule", cyclic, init_value=0.1, peak_value=0.4, up_steps=4, agrees=False),
    case("cyclic_schedule", cyclic, init_value=0.1, peak_value=0.4, up_steps=3, down_steps=8,
         mode="triangular2", agrees=False),
    case("cyclic_schedule", cyclic, init_value=0.4, peak_value=0.1, up_steps=5, down_steps=2,
         mode="exp_range", gamma=0.95, agrees=False),
    case("cyclic_schedule", cyclic, init_value=0.4, peak_value=0.01, up_steps=9, shape="cosine",
         agrees=False),
    case("cosine_restarts_schedule", cosine_restarts, init_value=0.3, first_steps=7,
         agrees=False),
    case("cosine_restarts_schedule", cosine_restarts, init_value=0.3, first_steps=3, growth=2,
         end_value=0.01, agrees=False),
    case("cosine_restarts_schedule", cosine_restarts, init_value=0.3, first_steps=5, growth=1.3,
         end_value=0.01, agrees=False),
    case("piecewise_constant_schedule", piecewise_constant, init_value=0.3,
         boundaries_and_scales=SCALES),
    case("piecewise_constant_schedule", piecewise_constant, init_value=0.3),
    case("piecewise_interpolate_schedule", piecewise_interpolate, interpolate_type="linear",
         init_value=0.3, boundaries_and_scales=SCALES),
    case("piecewise_interpolate_schedule", piecewise_interpolate, interpolate_type="cosine",
         init_value=0.3, boundaries_and_scales=SCALES),
    case("piecewise_interpolate_schedule", piecewise_interpolate, interpolate_type="cosine",
         init_value=0.3),
]  # fmt: skip

# A phase of no steps is skipped: the next phase begins at the same step.
WITHOUT_A_PHASE = [
    case("linear_schedule", linear, init_value=0.1, end_value=0.5, transition_steps=0),
    case("linear_schedule", linear, init_value=0.1, end_value=0.5, transition_steps=0,
         transition_begin=4),
    case("polynomial_schedule", polynomial, init_value=0.1, end_value=0.5, power=3,
         transition_steps=0),
    case("cosine_decay_schedule", cosine, init_value=0.3, decay_steps=0, alpha=0.2),
    case("warmup_constant_schedule", warmup, **PEAK, warmup_steps=0),
    case("warmup_cosine_decay_schedule", warmup_cosine, **PEAK, warmup_steps=8, decay_steps=8,
         end_value=0.1),
    case("warmup_cosine_decay_schedule", warmup_cosine, **PEAK, warmup_steps=0, decay_steps=0,
         end_value=0.1),
    case("inverse_sqrt_schedule", inverse_sqrt, **PEAK, warmup_steps=0),
    case("warmup_stable_decay_schedule", stable_decay, **PEAK, warmup_steps=0, stable_steps=5,
         decay_steps=9),
    case("warmup_stable_decay_schedule", stable_decay, **PEAK, warmup_steps=3, stable_steps=0,
         decay_steps=0, shape="sqrt"),
    case("linear_onecycle_schedule", lambda t, **_: through(t, [0, 20, 40], [0.2, 0.05, 0.025]),
         transition_steps=40, peak_value=0.2, pct_start=0.0, pct_final=0.5, div_factor=4.0,
         final_div_factor=2.0),
    case("linear_onecycle_schedule",
         lambda t, **_: through(t, [0, 20], [0.05, 0.2]) if t < 20
         else through(t, [20, 40], [0.05, 0.025]),
         transition_steps=40, peak_value=0.2, pct_start=0.5, pct_final=0.5, div_factor=4.0,
         final_div_factor=2.0),
    case("cyclic_schedule", lambda t, **_: 0.1 + 0.3 * (t % 4) / 4, init_value=0.1,
         peak_value=0.4, up_steps=4, down_steps=0, agrees=False),
    case("cosine_onecycle_schedule", lambda t, **_: 0.025, transition_steps=0, peak_value=0.2,
         div_factor=4.0, final_div_factor=2.0),
    case("piecewise_constant_schedule", piecewise_constant, init_value=0.3,
         boundaries_and_scales={0: 0.5, 9: 0.5}),
    case("piecewise_interpolate_schedule", lambda t, **_: through(t, [0, 9], [0.15, 0.075]),
         interpolate_type="linear", init_value=0.3, boundaries_and_scales={9: 0.5, 0: 0.5}),
]  # fmt: skip
