"""AMSGrad: Adam that divides by the largest second moment so far."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["amsgrad", "scale_by_amsgrad"]

Array = jax.Array


def _step_scalars(
    t: Array, b1: Array, b2: Array, bias_correction_mu: bool, bias_correction_nu: bool
) -> dict[str, Array]:
    """Computes the weights and bias corrections of update number t."""
    scalars = {"mu_gain": 1 - b1, "nu_gain": 1 - b2}
    if bias_correction_mu:
        scalars["mu_correction"] = bias_correction(b1, t)
    if bias_correction_nu:
        scalars["nu_correction"] = bias_correction(b2, t)
    return scalars


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu", "nu_max")},
    step_scalars=_step_scalars,
)
def scale_by_amsgrad(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    bias_correction_mu: Static[bool] = True,
    bias_correction_nu: Static[bool] = True,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by the largest running root mean square so far.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        nu_max <- max(nu_max, v / (1 - b2^t))
        u  = m / (1 - b1^t) / (sqrt(nu_max + eps_root) + eps)

    Without bias_correction_mu, u has m in place of m / (1 - b1^t); without bias_correction_nu,
    nu_max has v in place of v / (1 - b2^t). The state keeps m as `mu`, v as `nu`, and nu_max, each
    of shape `*p`.

    `b1`, `b2` `()` have no unit; `eps` `()` is in units of g and `eps_root` in units of g^2; u
    has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, so that u stays bounded; in units of g.
      eps_root: added under the root; in units of g^2.
      mu_dtype: dtype of m.
      bias_correction_mu: whether to divide m by 1 - b1^t.
      bias_correction_nu: whether to divide v by 1 - b2^t before the maximum.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper has no bias corrections and no eps. The defaults are as in optax. torch's
    amsgrad takes the maximum of v, and corrects the bias of the maximum:
    `scale_by_adam(amsgrad=True)`. With the correction before the maximum, nu_max is never less than
    the first g^2; in torch it is never less than (1 - b2) g^2. Complex parameters are pairs of real
    ones; optax uses |g|^2.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_amsgrad(b1=0.0)
      >>> state = tx.init({"w": 0.0})
      >>> for g in (4.0, 1.0):
      ...     updates, state = tx.update({"w": g}, state)
      >>> float(updates["w"])
      0.25

    Reference: Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, ICLR 2018,
    Algorithm 2, arXiv:1904.09237.
    """
    del p, mu_dtype, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    nu_max = jnp.maximum(slots.nu_max, ctx.nu_correction * nu if bias_correction_nu else nu)
    u = mu / (eps + safe_sqrt(eps_root + nu_max))
    u = ctx.mu_correction * u if bias_correction_mu else u
    return u, {"mu": mu, "nu": nu, "nu_max": nu_max}


@composed
def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AMSGrad: `scale_by_amsgrad`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p. See `scale_by_amsgrad` for the maths and the differences
    from other libraries.

    Args:
      See `scale_by_amsgrad` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.amsgrad(0.1)
      >>> fo.apply_updates({"w": 1.0}, tx.update({"w": 3.0}, tx.init({"w": 1.0}))[0])
      {'w': Array(0.9, dtype=float32)}

    Reference: Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, ICLR 2018,
    Algorithm 2, arXiv:1904.09237.
    """
    return chain(
        scale_by_amsgrad(
            b1,
            b2,
            eps,
            eps_root,
            mu_dtype,
            bias_correction_mu,
            bias_correction_nu,
            state_dtype=state_dtype,
        ),
        scale_by_learning_rate(learning_rate),
    )
