"""Simplified AdEMAMix: one sum of gradients, mixed with the gradient."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Decay, NonNegative, Optional_, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .ademamix import decay_in_warmup

__all__ = ["scale_by_simplified_ademamix", "simplified_ademamix"]

Array = jax.Array


def _step_scalars(
    t: Array,
    b1: Array,
    b2: Array,
    alpha: Array,
    eps: Array,
    eps_root: Array,
    b1_warmup: Array | None,
    min_b1: Array,
) -> dict[str, Array]:
    """Computes the weights of update number t; see `bias_root`."""
    root = bias_root(b2, t)
    decay = b1 if b1_warmup is None else decay_in_warmup(t, min_b1, b1, b1_warmup)[0]
    return {
        "m_decay": decay,
        "m_weight": root,
        "g_weight": root * alpha,
        "nu_gain": 1 - b2,
        "scaled_eps": eps * root,
        "scaled_eps_root": eps_root * jnp.square(root),
    }


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("m", "nu")}, step_scalars=_step_scalars)
def scale_by_simplified_ademamix(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.99,
    b2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    *,
    b1_warmup: Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_] = None,
    min_b1: Decay = 0.9,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a decaying sum of updates, plus alpha times the update, by their root mean square.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + g
        v <- b2 v + (1 - b2) g^2
        u  = (m + alpha g) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    m is a sum and not a mean: u is up to 1 / (1 - b1) times as large as in Adam, so divide the
    learning rate by this factor. The state keeps m and v (as `nu`), each of shape `*p`. `b1`,
    `b2` and `alpha` `()` have no unit; `eps` `()` is in units of g and `eps_root` in units of g^2;
    u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      alpha: weight of g in the sum with m.
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      b1_warmup: number of updates over which the half-life of m grows linearly, from the half-life
        of min_b1 to the half-life of b1.
      min_b1: the initial b1; only used with b1_warmup.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code without its optional correction of m, and from optax.
    The warmup is as in the authors' code; optax has a schedule of b1.

    Raises:
      ValueError: b1, b2 or min_b1 outside [0, 1); alpha, eps or eps_root negative; b1_warmup is
        not positive.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_simplified_ademamix(alpha=0.5), {"w": jnp.zeros(2)}
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init(params))
      >>> print(updates["w"].round(4))
      [ 1.5 -1.5]

    Reference: Morwani et al., Connections between schedule-free optimizers, AdEMAMix, and
    accelerated SGD variants, 2025, Algorithm 1, arXiv:2502.02431.
    """
    del p, b1, alpha, eps, eps_root, b1_warmup, min_b1, state_dtype
    m = ctx.m_decay * slots.m + g
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    mean = moment(m, g, ctx.m_weight, ctx.g_weight)
    return mean / (ctx.scaled_eps + safe_sqrt(ctx.scaled_eps_root + nu)), {"m": m, "nu": nu}


@composed
def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.99,
    b2: ScalarOrSchedule = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    b1_warmup: ScalarOrSchedule | None = None,
    min_b1: ScalarOrSchedule = 0.9,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Simplified AdEMAMix: its direction, decoupled decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_simplified_ademamix`

    `learning_rate` `()` is in units of p; use 1 - b1 times the learning rate of Adam.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_simplified_ademamix`, `add_decayed_weights` and `scale_by_learning_rate` for the
      others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.simplified_ademamix(0.1, alpha=0.5), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1500

    Reference: Morwani et al., Connections between schedule-free optimizers, AdEMAMix, and
    accelerated SGD variants, 2025, Algorithm 1, arXiv:2502.02431.
    """
    return chain(
        scale_by_simplified_ademamix(
            b1,
            b2,
            alpha,
            eps,
            eps_root,
            b1_warmup=b1_warmup,
            min_b1=min_b1,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
