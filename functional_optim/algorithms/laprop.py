"""LaProp: momentum of normalized gradients."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import TINY, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["laprop", "scale_by_laprop"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array) -> dict[str, Array]:
    """Computes the weights of update number t; see `bias_root`."""
    root = bias_root(b2, t)
    return {
        "mu_gain": (1 - b1) * root,
        "mu_weight": bias_correction(b1, t),
        "nu_gain": 1 - b2,
        "scaled_eps": eps * root,
        # A lower bound of the divisor: where v and eps are 0, g is 0 too, and 0 / 0 would be NaN.
        "floor": jnp.asarray(TINY),
    }


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")}, step_scalars=_step_scalars)
def scale_by_laprop(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-15,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Averages updates, each divided by the running root mean square that includes it.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        v <- b2 v + (1 - b2) g^2
        m <- b1 m + (1 - b1) g / (sqrt(v / (1 - b2^t)) + eps)
        u  = m / (1 - b1^t)

    Adam divides the mean of gradients by the latest root mean square. Here each gradient is divided
    by the root mean square at its own step, before the mean is taken, so that for any b1 and b2 u
    is at most the largest of these quotients. The state keeps m as `mu` and v as `nu`, each of
    shape `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is in units of g; m and u have no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root; in units of g.
      mu_dtype: dtype of m.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the paper. In the authors' code m includes the learning rate, which is
    equivalent while the rate is constant; their option `centered` fails.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_laprop()
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init({"w": jnp.zeros(2)}))
      >>> print(updates["w"].round(4))
      [ 1. -1.]

    Reference: Ziyin, Wang & Ueda, LaProp: Separating momentum and adaptivity in Adam, 2020,
    Algorithm 1, arXiv:2002.04839.
    """
    del p, eps, mu_dtype, state_dtype
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    divisor = jnp.maximum(ctx.scaled_eps + safe_sqrt(nu), ctx.floor)
    mu = moment(slots.mu, g / divisor, b1, ctx.mu_gain)
    return ctx.mu_weight * mu, {"mu": mu, "nu": nu}


@composed
def laprop(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-15,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """LaProp: `scale_by_laprop`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_laprop`

    `learning_rate` `()` is in units of p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_laprop`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: the decay is multiplied by the learning rate; in the authors' code it is not, and
    acts on the parameter after the step.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.laprop(0.1), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Ziyin, Wang & Ueda, LaProp: Separating momentum and adaptivity in Adam, 2020,
    Algorithm 1, arXiv:2002.04839.
    """
    return chain(
        scale_by_laprop(b1, b2, eps, mu_dtype, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
