"""Moments of updates: their next values, their bias corrections, and the scalars of Adam."""

import jax
import jax.numpy as jnp

from .precision import one_minus_power

__all__ = [
    "adam_scalars",
    "bias_correction",
    "bias_root",
    "interpolate",
    "mean_scalars",
    "moment",
    "nearer_end",
    "step_towards",
]

Array = jax.Array


def moment(old: Array, x: Array, decay: Array, gain: Array) -> Array:
    """Computes `decay old + gain x`, the next value of a moment, of the shape of `x`.

    `gain` `()` is a scalar of the step, `1 - decay` for an exponential moving average.
    """
    # lax, not jnp: nearly every rule calls this, and jnp takes four times as long to trace.
    return jax.lax.add(jax.lax.mul(decay, old), jax.lax.mul(gain, x))


def bias_correction(b: Array, t: Array) -> Array:
    """Computes `1 / (1 - b**t)` without cancellation, for `b` in [0, 1) and `t` >= 1.

    A moment that started at 0 with decay `b`, times this, is a weighted mean of its `t` values.
    In float32 the plain formula is off by up to 1.7e-4 (b = 0.9999), and this one by about 2e-7.
    """
    return 1 / one_minus_power(b, t)


def bias_root(b: Array, t: Array) -> Array:
    """Computes `sqrt(1 - b**t)`, which corrects the bias of v in a step that divides by sqrt(v).

    With v of decay `b`, and c = 1 - b**t:

        m / (sqrt(v / c + eps_root) + eps) = sqrt(c) m / (sqrt(v + c eps_root) + sqrt(c) eps)

    so that the correction multiplies scalars only, which saves one operation for each element.
    Kingma & Ba give this order at the end of their section 2.
    """
    return jax.lax.sqrt(one_minus_power(b, t))


def adam_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    eps: Array,
    eps_root: Array | None = None,
    nesterov: bool = False,
) -> dict[str, Array]:
    """Computes the scalars of Adam's update number t, for the moments m and v.

    Both bias corrections are in the scalars; see `bias_root`:

        m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps)
            = mu_weight m / (sqrt(v + scaled_eps_root) + scaled_eps)

    `mean_scalars` makes the scalars of the numerator, and explains `nesterov`. `eps_root` is None
    for rules that do not have it.
    """
    root = bias_root(b2, t)
    # Scalars are computed once for all leaves, so each factor that moves from the elements into
    # them saves an operation on every element.
    scalars = {"mu_gain": 1 - b1, "nu_gain": 1 - b2, "scaled_eps": eps * root}
    if eps_root is not None:
        scalars["scaled_eps_root"] = eps_root * jnp.square(root)
    return scalars | mean_scalars(t, b1, root, nesterov)


def mean_scalars(t: Array, b1: Array, factor: Array, nesterov: bool) -> dict[str, Array]:
    """Computes the scalars of a numerator: `factor` times the bias-corrected mean.

        mu_weight m = factor m / (1 - b1^t)
        ahead_mean m + ahead_gain g = factor (b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t))

    With `nesterov` the numerator is the second line, Nesterov's look-ahead; else the first.
    """
    if not nesterov:
        return {"mu_weight": factor / one_minus_power(b1, t)}
    return {
        "ahead_mean": factor * b1 / one_minus_power(b1, t + 1),
        "ahead_gain": factor * (1 - b1) / one_minus_power(b1, t),
    }


def interpolate(mean: Array, x: Array, weight: Array) -> Array:
    """Computes `mean + weight (x - mean)`, of the shape of `x`, for a weight in [0, 1].

    The step starts at the nearer of the two: a weight of 1 returns `x` exactly, and two equal
    values return that value, so that a mean of many values does not drift. With `moment`, the
    rounding of `1 - weight` would scale the mean by a little more or less than 1 at each step.
    """
    return step_towards(mean, x, *nearer_end(weight))


def nearer_end(weight: Array) -> tuple[Array, Array]:
    """Computes the scalars of `step_towards`: whether it starts at the mean, and the step."""
    # The product is rounded in proportion to the step, so the shorter step loses least.
    near = weight < 0.5
    # mean + weight (x - mean) = x + (weight - 1) (x - mean)
    return near, jnp.where(near, weight, weight - 1)


def step_towards(mean: Array, x: Array, near: Array, step: Array) -> Array:
    """Computes `interpolate` with the scalars of `nearer_end`, computed once for all leaves."""
    start = jax.lax.select(near, mean, x)
    return jax.lax.add(start, jax.lax.mul(step, jax.lax.sub(x, mean)))
