"""SPAM: Adam that clips spikes of gradients, and periodically resets its moments."""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["scale_by_spam", "spam"]

Array = jax.Array

_WARMUP_REDUCTION = 0.99
"""Reduction of the step right after a reset, as in the authors' warmup."""


def _step_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    delta_t: Array,
    warmup_steps: Array,
    grad_accu_steps: Array,
) -> dict[str, Array]:
    """Computes the weights of update number t; the moments are reset every `delta_t` updates."""
    since = jnp.mod(t, delta_t)
    reset = since == 0
    root = bias_root(b2, t)
    # There is no warmup before the first reset.
    is_warmup = (t >= delta_t) & (since < warmup_steps)
    angle = math.pi * since / (warmup_steps + 1)
    warmup = 1 - _WARMUP_REDUCTION * jnp.where(is_warmup, (1 + jnp.cos(angle)) / 2, 0.0)
    return {
        "mu_decay": jnp.where(reset, 0.0, b1),
        "mu_gain": 1 - b1,
        "mu_weight": warmup * root * bias_correction(b1, t),
        "nu_decay": jnp.where(reset, 0.0, b2),
        "nu_gain": 1 - b2,
        "cuts": (t >= grad_accu_steps) & (since >= grad_accu_steps),
    }


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")}, step_scalars=_step_scalars)
def scale_by_spam(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    threshold: NonNegative = 5000.0,
    delta_t: Annotated[Hyperparameter, Within("[1, inf)")] = 500,
    warmup_steps: NonNegative = 150,
    grad_accu_steps: NonNegative = 20,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Computes Adam's update of clipped gradients, with moments that are reset periodically.

    For one parameter of shape `*p`, its update number t = 1, 2, ..., and s = t mod delta_t, the
    number of updates since the last reset:

        at s = 0:    m, v <- 0
        from s = grad_accu_steps on:    g <- g clipped to [-b, b], with b = sqrt(threshold v)
        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        u  = w sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

    w is 1 until the first reset, and then 1 - 0.99 (1 + cos(pi s / (warmup_steps + 1))) / 2 while
    s < warmup_steps. The state keeps m as `mu` and v as `nu`, each of shape `*p`. `b1`, `b2` and
    `threshold` `()` have no unit; `eps` `()` is in units of g; the other numbers `()` are in
    updates; u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root; in units of g.
      threshold: the largest g^2 that is not clipped, as a multiple of v.
      delta_t: number of updates from one reset to the next.
      warmup_steps: number of updates after a reset in which u is scaled down.
      grad_accu_steps: number of updates after a reset that are not clipped.
      mu_dtype: dtype of m.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code without sparse momentum (density 1). In that code eps
    is added before the bias correction of v, and a reset does not reset the t of the bias
    corrections, as here.

    Raises:
      ValueError: b1 or b2 outside [0, 1), delta_t below 1, another argument negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_spam(b1=0.0, b2=0.75, eps=0.0, threshold=4.0, grad_accu_steps=2)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (2.0, 2.0, 1000.0):  # v is then 1.75, and 1000 is clipped to sqrt(4 v)
      ...     updates, state = tx.update({"w": g}, state)
      >>> print(state.nu["w"])
      3.0625

    Reference: Huang et al., SPAM: Spike-aware Adam with momentum reset for stable LLM training,
    ICLR 2025, Algorithm 1, arXiv:2501.06842.
    """
    del p, b1, b2, delta_t, warmup_steps, grad_accu_steps, mu_dtype, state_dtype
    bound = safe_sqrt(threshold * slots.nu)
    g = jax.lax.select(ctx.cuts, jnp.minimum(jnp.maximum(g, -bound), bound), g)
    mu = moment(slots.mu, g, ctx.mu_decay, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), ctx.nu_decay, ctx.nu_gain)
    return ctx.mu_weight * (mu / (eps + safe_sqrt(nu))), {"mu": mu, "nu": nu}


@composed
def spam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-6,
    threshold: ScalarOrSchedule = 5000.0,
    delta_t: ScalarOrSchedule = 500,
    warmup_steps: ScalarOrSchedule = 150,
    grad_accu_steps: ScalarOrSchedule = 20,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """SPAM: `scale_by_spam`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_spam`

    `learning_rate` `()` is in units of p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_spam`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: the authors' code decays the parameter after the step.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.spam(0.1), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Huang et al., SPAM: Spike-aware Adam with momentum reset for stable LLM training,
    ICLR 2025, Algorithm 1, arXiv:2501.06842.
    """
    return chain(
        scale_by_spam(
            b1,
            b2,
            eps,
            threshold,
            delta_t,
            warmup_steps,
            grad_accu_steps,
            mu_dtype,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
