"""ADOPT: Adam that divides each gradient by the root mean square of earlier gradients."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, SlotDtype, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adopt", "fourth_root", "scale_by_adopt"]

Array = jax.Array
ClipValue = Callable[[Array], Array]


def fourth_root(step: Array) -> Array:
    """Computes `step^(1/4)`, the bound of the paper for update number `step`, counted from 0."""
    return step**0.25


def _step_scalars(
    t: Array, b1: Array, b2: Array, eps: Array, use_clipping: bool, clip_value_fn: ClipValue
) -> dict[str, Array]:
    """Computes the weights of update number t; the first only initializes the second moment."""
    first = t == 1
    scalars = {
        "mu_gain": jnp.where(first, 0.0, 1 - b1),
        "nu_decay": jnp.where(first, 0.0, b2),
        "nu_gain": jnp.where(first, 1.0, 1 - b2),
        # At the first update v is 0; the quotient has the weight 0, and must be finite.
        "floor": jnp.where(first, 1.0, eps),
    }
    return scalars | ({"clip": clip_value_fn(t - 1)} if use_clipping else {})


@leaf_rule(slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu")}, step_scalars=_step_scalars)
def scale_by_adopt(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    nesterov: Static[bool] = False,
    use_clipping: Static[bool] = True,
    clip_value_fn: Static[ClipValue] = fourth_root,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Averages updates, each divided by the root mean square of the updates before it.

    For one parameter of shape `*p`, at its first update v = g^2 and u = 0. At its update number
    t = 2, 3, ..., with c the bound `clip_value_fn(t - 1)`:

        q  = g / max(sqrt(v), eps), clipped to [-c, c]
        m <- b1 m + (1 - b1) q
        v <- b2 v + (1 - b2) g^2
        u  = m, or b1 m + (1 - b1) q with nesterov

    v does not contain the g that it divides, so ADOPT converges with any b2, unlike Adam. The state
    keeps m as `mu` and v as `nu`, each of shape `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is
    in units of g; q and u have no unit.

    Args:
      b1, b2: decays of m and of v, in [0, 1).
      eps: the least divisor of g, in units of g.
      mu_dtype: dtype of m.
      nesterov: whether u is b1 m + (1 - b1) q, the look-ahead of m.
      use_clipping: whether to clip q; the first version of the paper does not.
      clip_value_fn: maps the number of the update, from 0, to the bound c; a static argument.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code and from optax.

    Raises:
      ValueError: b1 or b2 outside [0, 1), or eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_adopt(b1=0.5), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 3.0}, state)
      ...     print(updates["w"])
      0.0
      0.5

    Reference: Taniguchi et al., ADOPT: Modified Adam can converge with any b2 with the optimal
    rate, NeurIPS 2024, Algorithm 2, arXiv:2411.02853.
    """
    del p, b2, eps, mu_dtype, clip_value_fn, state_dtype
    quotient = g / jnp.maximum(safe_sqrt(slots.nu), ctx.floor)
    if use_clipping:
        quotient = jnp.minimum(jnp.maximum(quotient, -ctx.clip), ctx.clip)
    mu = moment(slots.mu, quotient, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), ctx.nu_decay, ctx.nu_gain)
    return moment(mu, quotient, b1, ctx.mu_gain) if nesterov else mu, {"mu": mu, "nu": nu}


@composed
def adopt(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.9999,
    eps: ScalarOrSchedule = 1e-6,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: ClipValue = fourth_root,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """ADOPT: `scale_by_adopt`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adopt`

    `learning_rate` `()` is in units of p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adopt`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: optax has no weight decay here. In the authors' code it is decoupled with
    `decouple=True`, and the first update does not decay.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adopt(0.1)
      >>> params = {"w": jnp.array([1.0, -2.0])}
      >>> state = tx.init(params)
      >>> for _ in range(200):
      ...     grads = jax.tree.map(lambda w: 2 * w, params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params["w"]).max() < 0.05)
      True

    Reference: Taniguchi et al., ADOPT: Modified Adam can converge with any b2 with the optimal
    rate, NeurIPS 2024, Algorithm 2, arXiv:2411.02853.
    """
    return chain(
        scale_by_adopt(
            b1,
            b2,
            eps,
            mu_dtype,
            nesterov=nesterov,
            use_clipping=use_clipping,
            clip_value_fn=clip_value_fn,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
