"""ACProp: updates divided by the deviation of earlier gradients from their mean."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_root, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["acprop", "scale_by_acprop"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array) -> dict[str, Array]:
    """Computes the weights of update number t, which divides by the moment of update t - 1.

    At the first update there is no such moment, and the divisor is 1 + eps.
    """
    first = t == 1
    root = bias_root(b2, jnp.maximum(t - 1, 1))
    return {
        "mu_gain": 1 - b1,
        "nu_gain": 1 - b2,
        "weight": jnp.where(first, 1.0, root),
        "nu_weight": jnp.where(first, 0.0, 1.0),
        "scaled_eps": jnp.where(first, 1 + eps, eps * root),
    }


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")}, step_scalars=_step_scalars)
def scale_by_acprop(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides each update by the running deviation of earlier updates from their mean.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        u  = g / (sqrt(s / (1 - b2^(t-1))) + eps),    g / (1 + eps) at the first update
        m <- b1 m + (1 - b1) g
        s <- b2 s + (1 - b2) (g - m)^2 + eps_root

    The state keeps m as `mu` and s as `nu`, each of shape `*p`. `b1`, `b2` `()` have no unit; `eps`
    `()` is in units of g and `eps_root` in units of g^2; u has no unit.

    If all earlier gradients were 0, s is a few times `eps_root`, and the first gradient that is not
    0 makes a step that is millions of times as large as usual. Gradients that are sparse, or of
    inputs that are 0 at first, need a larger `eps`, such as 1e-3.

    Args:
      b1, b2: decays of m and of s, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added to s at each update; in units of g^2.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper skips the first update, and has no bias corrections. optax's code
    computes g - m with the m of the previous update, which makes u smaller by a factor of b1; its
    documentation has the formula of the paper.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_acprop(b1=0.5), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 4.0}, state)
      ...     print(updates["w"].round(3))
      4.0
      2.0

    Reference: Zhuang et al., Momentum centering and asynchronous update for adaptive gradient
    methods, NeurIPS 2021, Algorithm 2, arXiv:2110.05454.
    """
    del p, eps, state_dtype
    u = ctx.weight * (g / (ctx.scaled_eps + ctx.nu_weight * safe_sqrt(slots.nu)))
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = eps_root + moment(slots.nu, jnp.square(g - mu), b2, ctx.nu_gain)
    return u, {"mu": mu, "nu": nu}


@composed
def acprop(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-16,
    eps_root: ScalarOrSchedule = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """ACProp: `scale_by_acprop`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_acprop`

    `learning_rate` `()` is in units of p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_acprop`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.acprop(0.1), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -1.0000

    Reference: Zhuang et al., Momentum centering and asynchronous update for adaptive gradient
    methods, NeurIPS 2021, Algorithm 2, arXiv:2110.05454.
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
