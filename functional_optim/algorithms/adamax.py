"""Adamax, and AdamaxW: Adam with a decaying maximum in place of the root mean square."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, moment
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adamax", "adamaxw", "scale_by_adamax"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array) -> dict[str, Array]:
    """Computes the weight of the new value and the bias correction of update number t."""
    return {"mu_gain": 1 - b1, "mu_correction": bias_correction(b1, t)}


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p)},
    step_scalars=_step_scalars,
)
def scale_by_adamax(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by a decaying maximum of their absolute values.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m  <- b1 m + (1 - b1) g
        nu <- max(b2 nu, |g| + eps)
        u   = m / (1 - b1^t) / nu

    The state keeps m as `mu`, and nu, each of shape `*p`, as optax and torch do. `b1`, `b2` `()`
    have no unit, `eps` `()` is in units of g; u has no unit.

    Args:
      b1: decay of m, in [0, 1).
      b2: decay of the maximum, in [0, 1).
      eps: added to |g|, so that nu is not 0; in units of g.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper has no eps; torch and optax have it within the maximum, as here.
    Complex parameters are pairs of real ones, as in torch; optax uses |g|.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adamax(b1=0.5, b2=0.75)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (4.0, 1.0):
      ...     updates, state = tx.update({"w": g}, state)
      >>> float(state.mu["w"]), float(state.nu["w"])
      (1.5, 3.0)

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980.
    """
    del p, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = jnp.maximum(b2 * slots.nu, eps + jnp.abs(g))
    return ctx.mu_correction * (mu / nu), {"mu": mu, "nu": nu}


@composed
def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adamax: `scale_by_adamax`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: no element changes by much more in one step. See
    `scale_by_adamax` for the maths.

    Args:
      See `scale_by_adamax` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adamax(0.1)
      >>> fo.apply_updates({"w": 1.0}, tx.update({"w": 3.0}, tx.init({"w": 1.0}))[0])
      {'w': Array(0.9, dtype=float32)}

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980.
    """
    return chain(
        scale_by_adamax(b1, b2, eps, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )


@composed
def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdamaxW: `scale_by_adamax`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adamax`

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adamax`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adamaxw(0.1, weight_decay=0.5)
      >>> params = {"w": 4.0}
      >>> fo.apply_updates(params, tx.update({"w": 0.0}, tx.init(params), params)[0])
      {'w': Array(3.8, dtype=float32)}

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 2, arXiv:1412.6980. Loshchilov & Hutter, Decoupled Weight Decay
    Regularization, ICLR 2019, arXiv:1711.05101.
    """
    return chain(
        scale_by_adamax(b1, b2, eps, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
