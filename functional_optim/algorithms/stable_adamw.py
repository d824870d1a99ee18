"""StableAdamW: AdamW with smaller steps where gradients exceed their second moment."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import argument_of_call, composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import TINY, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype
from ..core.rules.by_label import by_label
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import leaf_rms
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["scale_by_stable_adamw", "stable_adamw"]

Array = jax.Array


def _step_scalars(t: Array, b1: Array, b2: Array, eps: Array) -> dict[str, Array]:
    """Computes the weights of update number t; see `bias_root`."""
    root = bias_root(b2, t)
    return {
        "mu_gain": 1 - b1,
        "mu_weight": root * bias_correction(b1, t),
        "nu_gain": 1 - b2,
        "nu_root": root,
        "scaled_eps": eps * root,
        # The least divisor of g in r: where v is 0, g is 0 as well, and 0 / 0 is NaN. Roots are
        # divided, and not squares, because both squares may overflow.
        "floor": jnp.maximum(eps * root, TINY**0.5),
    }


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")},
    step_scalars=_step_scalars,
    needs=("params",),
)
def scale_by_stable_adamw(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Computes AdamW's update, divided by the ratio of the gradients to their root mean square.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2,    w = v / (1 - b2^t)
        r  = sqrt(mean(g^2 / max(w, eps^2)))    over the parameter, `()`
        u  = (m / (1 - b1^t) / (sqrt(w) + eps) + weight_decay p) / max(1, r)

    r is far above 1 where the second moment lags behind the gradients, which often happens before a
    spike of the loss. The state keeps m as `mu` and v as `nu`, each of shape `*p`. `b1`, `b2` `()`
    have no unit; `eps` `()` is in units of g, `weight_decay` in units of 1 / p; u has no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root, and the least divisor of g in r; in units of g.
      weight_decay: multiple of p that is added before the division by r; in units of 1 / p.
      mu_dtype: dtype of m.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the paper and from optimi, which writes v / (1 - b2^t) as a mean with a
    decay that grows. The real and the imaginary part of a complex parameter each have an r.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or weight_decay negative, or `update` is called
        without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_stable_adamw(b1=0.0), {"w": jnp.zeros(2)}
      >>> state = tx.init(params)
      >>> for size in (1.0, 100.0):
      ...     updates, state = tx.update({"w": jnp.full(2, size)}, state, params)
      ...     print(updates["w"].round(3))
      [1. 1.]
      [1. 1.]

    Reference: Wortsman et al., Stable and low-precision training for large-scale vision-language
    models, NeurIPS 2023, Algorithm 2, arXiv:2304.13013.
    """
    del eps, mu_dtype, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    root = safe_sqrt(nu)
    excess = jnp.maximum(ctx.nu_root * leaf_rms(g / jnp.maximum(root, ctx.floor)), 1.0)
    u = ctx.mu_weight * (mu / (ctx.scaled_eps + root)) + weight_decay * p
    return u / excess, {"mu": mu, "nu": nu}


@composed
def stable_adamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-6,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-2,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """StableAdamW: `scale_by_stable_adamw`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p. The weight decay shrinks with the step, as in the paper.

    Args:
      mask: which parameters decay: a tree of booleans, or a function of the parameters. The
        decay of the others is 0; the state has the decay as `weight_decay.True`.
      See `scale_by_stable_adamw` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.stable_adamw(0.1, weight_decay=0.5), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.3f}")
      -0.150

    Reference: Wortsman et al., Stable and low-precision training for large-scale vision-language
    models, NeurIPS 2023, Algorithm 2, arXiv:2304.13013.
    """
    if mask is not None:
        by_mask = by_label({True: weight_decay, False: 0.0}, mask)
        where = argument_of_call(mask, "stable_adamw", "mask")
        weight_decay = dataclasses.replace(by_mask, where=where)
    return chain(
        scale_by_stable_adamw(b1, b2, eps, weight_decay, mu_dtype, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )
