"""AdaBelief: Adam that divides by the deviation of gradients from their mean."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import adam_scalars, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adabelief", "scale_by_belief"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array, nesterov: bool) -> dict[str, Array]:
    """Computes the weights of update number t."""
    return adam_scalars(t, b1, b2, eps, nesterov=nesterov)


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p)},
    step_scalars=_step_scalars,
)
def scale_by_belief(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by the running deviation of updates from that mean.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) (g - m)^2 + eps_root
        u  = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The state keeps m as `mu` and v as `nu`, each of shape `*p`. `b1`, `b2` `()` have no unit;
    `eps` `()` is in units of g and `eps_root` in units of g^2; u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added to v at each update; in units of g^2.
      nesterov: whether to look ahead: in u, m / (1 - b1^t) becomes
        b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper, and the authors' code without rectification, use one number for eps and
    eps_root.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_belief(b1=0.5, b2=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      2.0

    Reference: Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients, NeurIPS 2020, Algorithm 2, arXiv:2010.07468.
    """
    del p, eps, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = eps_root + moment(slots.nu, jnp.square(g - mu), b2, ctx.nu_gain)
    mean = moment(mu, g, ctx.ahead_mean, ctx.ahead_gain) if nesterov else mu
    u = mean / (ctx.scaled_eps + safe_sqrt(nu))
    return u if nesterov else ctx.mu_weight * u, {"mu": mu, "nu": nu}


@composed
def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-16,
    eps_root: ScalarOrSchedule = 1e-16,
    weight_decay: ScalarOrSchedule | None = None,
    weight_decay_mask: MaskOrFn = None,
    *,
    nesterov: bool = False,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdaBelief: `scale_by_belief`, decoupled weight decay, then a step of minus the rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_belief`

    `learning_rate` `()` is in units of p.

    Args:
      weight_decay: None for no decay; then `update` does not need params.
      weight_decay_mask: parameters that decay: a tree of booleans, or a function that returns one;
        None for all.
      See `scale_by_belief` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adabelief(0.1, b1=0.5, b2=0.0)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 4.0}, tx.init(params), params)
      >>> print(updates["w"])
      -0.2

    Reference: Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients, NeurIPS 2020, Algorithm 2, arXiv:2010.07468.
    """
    direction = scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov, state_dtype=state_dtype)
    step = scale_by_learning_rate(learning_rate)
    if weight_decay is None:
        return chain(direction, step)
    return chain(direction, add_decayed_weights(weight_decay, weight_decay_mask), step)
