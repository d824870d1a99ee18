"""AdEMAMix: Adam with a second mean of gradients, which decays much more slowly."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import safe_log, safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, Optional_, SlotDtype, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["ademamix", "decay_in_warmup", "scale_by_ademamix"]

Array = jax.Array


def decay_in_warmup(t: Array, start: Array, end: Array, warmup: Array) -> tuple[Array, Array]:
    """Computes a decay whose half-life grows linearly, and 1 minus this decay.

    For t >= warmup it is `end`. The authors add 1e-8 to decays, because start may be 0.
    """
    log_half = jnp.log(jnp.asarray(0.5, end.dtype))
    first, last = (log_half / safe_log(b + 1e-8) - 1 for b in (start, end))
    share = t / warmup
    log_decay = log_half / ((1 - share) * first + share * last + 1)
    is_over = t >= warmup
    decay = jnp.where(is_over, end, jnp.exp(log_decay))
    return decay, jnp.where(is_over, 1 - end, -jnp.expm1(log_decay))


def _step_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    b3: Array,
    alpha: Array,
    eps: Array,
    eps_root: Array,
    b3_warmup: Array | None,
    alpha_warmup: Array | None,
) -> dict[str, Array]:
    """Computes the weights of update number t; see `bias_root`."""
    root = bias_root(b2, t)
    if alpha_warmup is not None:
        alpha = alpha * jnp.minimum(t / alpha_warmup, 1)
    slow, slow_gain = b3, 1 - b3
    if b3_warmup is not None:
        slow, slow_gain = decay_in_warmup(t, b1, b3, b3_warmup)
    return {
        "m1_gain": 1 - b1,
        "m1_weight": root * bias_correction(b1, t),
        "m2_decay": slow,
        "m2_gain": slow_gain,
        "m2_weight": root * alpha,
        "nu_gain": 1 - b2,
        "scaled_eps": eps * root,
        "scaled_eps_root": eps_root * jnp.square(root),
    }


Warmup = Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_]


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("m1", "m2", "nu")}, step_scalars=_step_scalars
)
def scale_by_ademamix(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 6.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("m1", "m2")] = None,
    *,
    b3_warmup: Warmup = None,
    alpha_warmup: Warmup = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides the sum of a fast and a slow mean of updates by the root mean square of updates.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m1 <- b1 m1 + (1 - b1) g
        m2 <- b3 m2 + (1 - b3) g
        v  <- b2 v + (1 - b2) g^2
        u   = (m1 / (1 - b1^t) + alpha m2) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    m2 has no bias correction, so that its weight grows over about 1 / (1 - b3) updates.
    The state keeps m1, m2 and v (as `nu`), each of shape `*p`. `b1`, `b2`, `b3` and `alpha` `()`
    have no unit; `eps` `()` is in units of g and `eps_root` in units of g^2; u has no unit.

    Args:
      b1, b2, b3: decays of m1, of v and of m2, in [0, 1).
      alpha: weight of m2 in u.
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      mu_dtype: dtype of m1 and m2.
      b3_warmup: number of updates over which the half-life of m2 grows linearly, from the half-life
        of b1 to the half-life of b3; the authors use the length of the run.
      alpha_warmup: number of updates over which alpha grows linearly from 0; the authors use the
        length of the run.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the default of alpha is 2 in the authors' code; here it is as in optax, 6, and 5 in
    `ademamix`. Without warmups the results are as in optax, which has schedules of b3 and alpha in
    place of warmups; its schedules count updates from 0, and the authors' warmups from 1. In optax
    mu_dtype is also the dtype of v.

    Raises:
      ValueError: b1, b2 or b3 outside [0, 1); alpha, eps or eps_root negative; a warmup is not
        positive.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_ademamix(b3=0.5, alpha=2.0)
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init({"w": jnp.zeros(2)}))
      >>> print(updates["w"].round(4))
      [ 2. -2.]

    Reference: Pagliardini, Ablin & Grangier, The AdEMAMix optimizer: Better, faster, older, ICLR
    2025, Algorithm 1, arXiv:2409.03137.
    """
    del p, b3, alpha, eps, eps_root, mu_dtype, b3_warmup, alpha_warmup, state_dtype
    m1 = moment(slots.m1, g, b1, ctx.m1_gain)
    m2 = moment(slots.m2, g, ctx.m2_decay, ctx.m2_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    mean = moment(m1, m2, ctx.m1_weight, ctx.m2_weight)
    u = mean / (ctx.scaled_eps + safe_sqrt(ctx.scaled_eps_root + nu))
    return u, {"m1": m1, "m2": m2, "nu": nu}


@composed
def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    b3_warmup: ScalarOrSchedule | None = None,
    alpha_warmup: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdEMAMix: `scale_by_ademamix`, decoupled weight decay, then a step of minus the rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_ademamix`

    `learning_rate` `()` is in units of p. AdEMAMix is meant for long runs: with few updates, use a
    smaller b3, such as 0.999. Without the authors' warmups of b3 and alpha, long runs may diverge
    early.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_ademamix`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.ademamix(0.1, b3_warmup=100, alpha_warmup=100), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Pagliardini, Ablin & Grangier, The AdEMAMix optimizer: Better, faster, older, ICLR
    2025, Algorithm 1, arXiv:2409.03137.
    """
    return chain(
        scale_by_ademamix(
            b1,
            b2,
            b3,
            alpha,
            eps,
            eps_root,
            mu_dtype,
            b3_warmup=b3_warmup,
            alpha_warmup=alpha_warmup,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
