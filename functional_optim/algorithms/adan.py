"""Adan: adaptive Nesterov momentum, by differences of gradients."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adan", "scale_by_adan"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    return {k: jnp.zeros_like(p) for k in ("mu", "delta", "nu", "previous")}


def _step_scalars(
    t: Array, b1: Array, b2: Array, b3: Array, eps: Array, eps_root: Array
) -> dict[str, Array]:
    """Computes the weights of update number t; see `bias_root`.

    At the first update g has no predecessor. The weights of its change are then 0, so that the
    maths needs no selection for each element.
    """
    root = bias_root(b3, t)
    later = jnp.where(t > 1, jnp.ones_like(t), jnp.zeros_like(t))
    return {
        "mu_gain": 1 - b1,
        "mu_weight": root * bias_correction(b1, t),
        "delta_gain": later * (1 - b2),
        "delta_weight": root * b2 * bias_correction(b2, t),
        "change_weight": later * b2,
        "nu_gain": 1 - b3,
        "scaled_eps": eps * root,
        "scaled_eps_root": eps_root * jnp.square(root),
    }


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def scale_by_adan(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides means of updates and of their changes by the root mean square of both.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., with d the change of g
    since its last update, 0 at the first:

        m <- b1 m + (1 - b1) g
        n <- b2 n + (1 - b2) d
        v <- b3 v + (1 - b3) (g + b2 d)^2
        u  = (m / (1 - b1^t) + b2 n / (1 - b2^t)) / (sqrt(v / (1 - b3^t) + eps_root) + eps)

    The state keeps m as `mu`, n as `delta`, v as `nu`, and the last g as `previous`, each of
    shape `*p`. `b1`, `b2`, `b3` `()` have no unit; `eps` `()` is in units of g and `eps_root`
    in units of g^2; u has no unit.

    Args:
      b1, b2, b3: decays of m, of n and of v, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the betas are as in the authors' code, 1 minus the betas of the paper. The weight
    of d in v and of n in u is b2, as in that code; in optax it is 1 - b2.

    Raises:
      ValueError: b1, b2 or b3 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adan()
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init({"w": jnp.zeros(2)}))
      >>> print(updates["w"].round(4))
      [ 1. -1.]

    Reference: Xie et al., Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep
    models, TPAMI 2024, Algorithm 1, arXiv:2208.06677.
    """
    del p, eps, eps_root, state_dtype
    change = g - slots.previous
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    delta = moment(slots.delta, change, b2, ctx.delta_gain)
    nu = moment(slots.nu, jnp.square(g + ctx.change_weight * change), b3, ctx.nu_gain)
    mean = moment(mu, delta, ctx.mu_weight, ctx.delta_weight)
    u = mean / (ctx.scaled_eps + safe_sqrt(ctx.scaled_eps_root + nu))
    return u, {"mu": mu, "delta": delta, "nu": nu, "previous": g}


@composed
def adan(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.98,
    b2: ScalarOrSchedule = 0.92,
    b3: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adan: `scale_by_adan`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adan`

    `learning_rate` `()` is in units of p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adan`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: the decay is as in AdamW, and as with the authors' `no_prox=True`; their default
    divides p by 1 + learning_rate weight_decay after the step. The default of eps_root is as in
    optax.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adan(0.1)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Xie et al., Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep
    models, TPAMI 2024, Algorithm 1, arXiv:2208.06677.
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
