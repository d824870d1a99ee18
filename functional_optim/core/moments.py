"""Running means that are stored bias-corrected, and Nesterov's look ahead of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .precision import one_minus_power, safe_log

__all__ = [
    "AheadWeights",
    "MeanWeights",
    "ahead_weights",
    "even_weights",
    "fixed_weights",
    "look_ahead",
    "mean_weights",
    "running_mean",
]

Array = jax.Array


class MeanWeights(NamedTuple):
    """Weights of one step of a running mean; see `running_mean`."""

    drift: Array | float  # of the mean so far: what changed decays add
    gain: Array | float  # of the new value


def mean_weights(t: Array, b: Array, last_b: Array) -> MeanWeights:
    """Weights for `running_mean` at the update number `t` (1, 2, ...).

    Adam keeps `m = b m + (1 - b) x` and divides by `1 - b**t` where it reads m. The same
    numbers come from keeping the quotient, the mean itself:

        mean <- mean + gain (x - mean) + drift mean,    gain = (1 - b) / (1 - b**t)

    where drift is 0 while b does not change. In float32 the first form drifts away from a
    constant x: near its limit the increment is below half an ulp of m, and m stays off by up
    to ulp / (1 - b), 5e-4 for b = 0.9999. The second is x from the first step on, exactly.
    (Towards a limit that it does not start from it stalls as well, at ulp / (2 gain); where
    x varies, the roundings of both average out.)

    When b changes from `last_b` (a schedule, an edit), Adam's m carries over, and so does
    its quotient: drift takes up the difference, and the numbers stay those of the first form.
    """
    log_b = safe_log(b)
    total = jnp.where(t == 1, 1 - b, -jnp.expm1(t * log_b))  # the gain is 1 at once, exactly
    before = t - 1
    drift = jnp.expm1(before * log_b) - jnp.expm1(before * safe_log(last_b))
    return MeanWeights(b * drift / total, (1 - b) / total)


def even_weights(n: Array) -> MeanWeights:
    """Weights for `running_mean` by which all values count alike; the new one is number n >= 1."""
    return MeanWeights(0.0, 1 / n)


def fixed_weights(b: Array | float) -> MeanWeights:
    """Weights for `running_mean` of `b mean + (1 - b) x`, whatever the mean started as."""
    return MeanWeights(0.0, 1 - b)


def running_mean(mean: Array, x: Array, weights: MeanWeights) -> Array:
    """The next mean, of the shape of `x`: `mean + gain (x - mean) + drift mean`.

    Counted from the nearer of the two ends: from the mean, a gain near 1 would lose the
    digits of an x that is much smaller than the mean.
    """
    drift, gain = weights
    near = gain < 0.5
    # lax, not jnp: this is in every second rule, and half of it would be tracing.
    base = jax.lax.select(near, mean, x)
    return base + jax.lax.select(near, gain, gain - 1) * (x - mean) + drift * mean


class AheadWeights(NamedTuple):
    """Weights of one look ahead; see `look_ahead`."""

    mean: Array
    new: Array


def ahead_weights(t: Array, b: Array) -> AheadWeights:
    """Weights for `look_ahead` at the update number `t`, by Dozat: m is decayed once more.

    With `m = mean (1 - b**t)` as Adam keeps it, the mean becomes
    `b m / (1 - b**(t + 1)) + (1 - b) x / (1 - b**t)`.
    """
    total = one_minus_power(b, t)
    return AheadWeights(b * total / one_minus_power(b, t + 1), (1 - b) / total)


def look_ahead(mean: Array, x: Array, weights: AheadWeights) -> Array:
    """The mean, of the shape of `x`, with its newest value `x` weighted as if met again."""
    return weights.mean * mean + weights.new * x
