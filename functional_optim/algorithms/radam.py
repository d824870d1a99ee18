"""RAdam: Adam that divides by its second moment only once the moment is accurate."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, mean_scalars, moment
from ..core.numerics.precision import safe_log, safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["radam", "rectification", "scale_by_radam"]

Array = jax.Array


def _step_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    eps: Array,
    eps_root: Array,
    threshold: Array,
    nesterov: bool,
    eps_before_correction: bool,
) -> dict[str, Array]:
    """Computes the weights of update number t.

    While rho is at most the threshold, a selection makes the divisor 1. A product with 0 would not,
    because v may be infinite: squares of 1e20 overflow float32.
    """
    r = rectification(t, b2, threshold)
    is_rectified = r > 0
    factor = jnp.where(is_rectified, r, 1.0)
    nu_correction = bias_correction(b2, t)
    if eps_before_correction:
        eps = eps * jnp.sqrt(nu_correction)
    scalars = {
        "mu_gain": 1 - b1,
        "nu_gain": 1 - b2,
        "nu_correction": nu_correction,
        "added_in_root": eps_root,
        "added": eps,
        "is_rectified": jnp.where(is_rectified, 1.0, 0.0),
    }
    return scalars | mean_scalars(t, b1, factor, nesterov)


def rectification(t: Array, b2: Array, threshold: Array) -> Array:
    """Computes the factor r, or 0 while rho is at most the threshold, where r is undefined."""
    rho_inf = (1 + b2) / (1 - b2)
    rho = jnp.minimum(_sample_size(t, b2), rho_inf)
    is_defined = rho > threshold
    # Where rho does not reach the threshold, rho_inf may be 4 or 2, and the divisor 0.
    rho, rho_inf = jnp.where(is_defined, rho, 6.0), jnp.where(is_defined, rho_inf, 6.0)
    square = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    return jnp.where(is_defined, jnp.sqrt(square), 0.0)


def _sample_size(t: Array, b: Array) -> Array:
    """Computes `rho = (1 + b) / (1 - b) - 2 t b^t / (1 - b^t)` without cancellation.

    The two terms are about 1 / (1 - b), and their difference is between 1 and t. With
    x = -log b they are coth(x/2) and t (coth(tx/2) - 1), and 2 / x cancels exactly.
    """
    half = -safe_log(b) / 2
    return 1 - _coth_remainder(half) + t * _coth_remainder(t * half)


def _coth_remainder(z: Array) -> Array:
    """Computes `1 + 1/z - coth z` for `z` > 0: 1 at 0, and then about 1/z."""
    near, far = jnp.minimum(z, 2.0), jnp.maximum(z, 2.0)
    tail = jnp.full_like(z, 27.0)
    for k in range(25, 1, -2):  # Lambert's continued fraction; below 2 it is exact to float64
        tail = k + near * near / tail
    q = jnp.exp(-2 * far)
    return jnp.where(z < 2, 1 - near / tail, 1 / far - 2 * q / (1 - q))


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")}, step_scalars=_step_scalars)
def scale_by_radam(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    threshold: Annotated[Hyperparameter, Within("[4, inf)")] = 5.0,
    *,
    nesterov: Static[bool] = False,
    eps_before_correction: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their root mean square, once it is accurate.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        mu <- b1 mu + (1 - b1) g        m = mu / (1 - b1^t)
        nu <- b2 nu + (1 - b2) g^2      v = nu / (1 - b2^t)
        rho_inf = 2 / (1 - b2) - 1,     rho = rho_inf - 2 t b2^t / (1 - b2^t)
        r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
        u = r m / (sqrt(v + eps_root) + eps) if rho > threshold, else m

    v is as accurate as a plain mean of rho squares; rho grows from 1 to rho_inf, and r up to 1.
    For b2 <= 2/3, rho does not reach 5. The state keeps mu and nu, each of shape `*p`. `b1`, `b2`
    and `threshold` `()` have no unit; `eps` `()` is in units of g and `eps_root` `()` of g^2. u
    has no unit once rho > threshold, and the unit of g before.

    Args:
      b1, b2: decays of mu and of nu, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      threshold: the rho above which u is divided, at least 4.
      nesterov: whether to look ahead, as in `scale_by_adam`.
      eps_before_correction: whether eps is added to sqrt(nu) before the bias correction: eps
        becomes eps / sqrt(1 - b2^t).
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper has no eps, and threshold 4. The authors' code and torch add eps before
    the correction, and have threshold 5; optax adds eps after it. The authors' code and optax
    divide already where rho = threshold. Here rho is computed without the cancellation of the
    formula above, which costs up to 1 / (1 - b2) rounding errors. Complex parameters are pairs of
    real ones, as in torch; optax uses |g|^2.

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
    del p, eps, eps_root, threshold, eps_before_correction, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    mean = moment(mu, g, ctx.ahead_mean, ctx.ahead_gain) if nesterov else ctx.mu_weight * mu
    root = safe_sqrt(ctx.added_in_root + ctx.nu_correction * nu)
    divisor = jnp.where(ctx.is_rectified > 0, ctx.added + root, 1)
    return mean / divisor, {"mu": mu, "nu": nu}


@composed
def radam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    threshold: ScalarOrSchedule = 5.0,
    *,
    nesterov: bool = False,
    eps_before_correction: bool = False,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """RAdam: `scale_by_radam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p, and in the first steps in units of p per unit of g. See
    `scale_by_radam` for the maths and the differences from other libraries.

    Args:
      See `scale_by_radam` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.radam(0.1)
      >>> updates, _ = tx.update({"w": 3.0}, tx.init({"w": 1.0}))
      >>> print(f"{updates['w']:.4f}")
      -0.3000

    Reference: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR
    2020, Algorithm 2, arXiv:1908.03265.
    """
    direction = scale_by_radam(
        b1,
        b2,
        eps,
        eps_root,
        threshold,
        nesterov=nesterov,
        eps_before_correction=eps_before_correction,
        state_dtype=state_dtype,
    )
    return chain(direction, scale_by_learning_rate(learning_rate))
