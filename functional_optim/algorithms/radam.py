"""RAdam: Adam that waits until it knows its second moment, and then grows into it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import ahead_weights, look_ahead, mean_weights, running_mean
from ..core.precision import one_minus_power, safe_log, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["radam", "scale_by_radam"]

Array = jax.Array


def _clock(
    t: Array,
    last: Mapping[str, Array],
    b1: Array,
    b2: Array,
    threshold: Array,
    nesterov: bool,
    eps_before_correction: bool,
    **_: Any,
) -> tuple[dict[str, Any], dict[str, Array]]:
    scalars: dict[str, Any] = {
        "mu": mean_weights(t, b1, last["b1"]),
        "nu": mean_weights(t, b2, last["b2"]),
        "r": _rectification(t, b2, threshold),
    }
    if nesterov:
        scalars["ahead"] = ahead_weights(t, b1)
    if eps_before_correction:
        scalars["nu_total"] = one_minus_power(b2, t)
    return scalars, {"b1": b1, "b2": b2}


def _rectification(t: Array, b2: Array, threshold: Array) -> Array:
    """The factor r, which is positive; 0 up to the threshold, where there is none."""
    rho_inf = (1 + b2) / (1 - b2)
    rho = jnp.minimum(_length(t, b2), rho_inf)
    known = rho > threshold
    # rho_inf may be 4 or 2 where rho does not reach the threshold.
    rho, rho_inf = jnp.where(known, rho, 6.0), jnp.where(known, rho_inf, 6.0)
    square = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    return jnp.where(known, jnp.sqrt(square), 0.0)


def _length(t: Array, b: Array) -> Array:
    """Computes `rho = (1 + b) / (1 - b) - 2 t b^t / (1 - b^t)` without cancellation.

    The two terms are about 1 / (1 - b), and their difference is between 1 and t. With
    x = -log b they are coth(x/2) and t (coth(tx/2) - 1), of which 2 / x cancels exactly.
    """
    half = -safe_log(b) / 2
    return 1 - _beyond_pole(half) + t * _beyond_pole(t * half)


def _beyond_pole(z: Array) -> Array:
    """Computes `1 + 1/z - coth z` for `z` > 0: 1 at 0, and then about 1/z."""
    near, far = jnp.minimum(z, 2.0), jnp.maximum(z, 2.0)
    tail = jnp.full_like(z, 27.0)
    for k in range(25, 1, -2):  # Lambert's continued fraction; below 2 it is exact to float64
        tail = k + near * near / tail
    q = jnp.exp(-2 * far)
    return jnp.where(z < 2, 1 - near / tail, 1 / far - 2 * q / (1 - q))


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")},
    clock=_clock,
    memory=("b1", "b2"),
    static=("nesterov", "eps_before_correction"),
    bounds={
        "b1": "[0, 1)",
        "b2": "[0, 1)",
        "eps": "[0, inf)",
        "eps_root": "[0, inf)",
        "threshold": "[4, inf)",
    },
)
def scale_by_radam(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 0.0,
    threshold: Hyperparameter = 5.0,
    *,
    nesterov: bool = False,
    eps_before_correction: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their running root mean square, once that is known.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g        mu = m / (1 - b1^t)
        v <- b2 v + (1 - b2) g^2      nu = v / (1 - b2^t)
        rho_inf = 2 / (1 - b2) - 1,   rho = rho_inf - 2 t b2^t / (1 - b2^t)
        r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
        u = r mu / (sqrt(nu + eps_root) + eps) if rho > threshold, else mu

    rho is the number of squares that nu is as good as a plain mean of; it grows from 1 to
    rho_inf, and r up to 1. For b2 <= 2/3 it does not reach 5. The state keeps mu and nu,
    bias-corrected, each of shape `*p`. `b1`, `b2` and `threshold` `()` have no unit; `eps` is
    in units of g and `eps_root` of g^2. u has no unit once rho > threshold, and that of g
    before.

    Args:
      nesterov: look ahead, as in `scale_by_adam`.
      eps_before_correction: add eps to sqrt(v), and correct the sum: eps becomes
        eps / sqrt(1 - b2^t).

    Differences: the paper has no eps, and threshold 4; the authors' code and torch have eps
    before the correction, and threshold 5, which the code includes. optax has neither, and
    includes the threshold. rho is computed without cancellation, which costs the other forms
    up to 1 / (1 - b2) roundings. Complex parameters are pairs of real ones, as in torch;
    optax takes |g|^2.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative, or threshold < 4, below
        which the variance that r divides by is infinite.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_radam()
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(6):  # rho at 5 is 5 - 0.008
      ...     updates, state = tx.update({"w": 4.0}, state)
      ...     print(round(float(updates["w"]), 3))
      4.0
      4.0
      4.0
      4.0
      4.0
      0.026

    Reference: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR
    2020, Algorithm 2, arXiv:1908.03265.
    """
    del p, b1, b2, threshold
    mu = running_mean(slots.mu, g, now.mu)
    nu = running_mean(slots.nu, jnp.square(g), now.nu)
    kept = {"mu": mu, "nu": nu}
    if nesterov:
        mu = look_ahead(mu, g, now.ahead)
    if eps_before_correction:
        eps = eps / jnp.sqrt(now.nu_total)
    adaptive = now.r * mu / (safe_sqrt(nu + eps_root) + eps)
    return jnp.where(now.r > 0, adaptive, mu), kept


@optimizer(scale_by_radam)
def radam() -> None:
    """RAdam: `scale_by_radam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p, and in the first steps of p per unit of g. The
    other arguments, the maths and the differences from other libraries are those of
    `scale_by_radam`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.radam(0.1)
      >>> fo.apply_updates({"w": 1.0}, tx.update({"w": 3.0}, tx.init({"w": 1.0}))[0])
      {'w': Array(0.7, dtype=float32)}

    Reference: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR
    2020, Algorithm 2, arXiv:1908.03265.
    """
