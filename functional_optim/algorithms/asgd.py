"""ASGD: gradient descent with a decreasing rate, and the average of its parameters."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import NonNegative, StateDtype, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale

__all__ = ["asgd", "scale_by_asgd"]

Array = jax.Array


def _carry(learning_rate: Array) -> dict[str, Array | float]:
    """Returns eta and mu of the first update, and `started`, which is 1 after that update."""
    return {"eta": learning_rate, "mu": 1.0, "started": 0.0}


def _step_scalars(
    t: Array,
    learning_rate: Array,
    lambd: Array,
    alpha: Array,
    t0: Array,
    eta: Array,
    mu: Array,
    started: Array,
) -> dict[str, Array]:
    """Computes the rate and the weight of update number t, and of the next update."""
    decay = jnp.exp(-alpha * jnp.log1p(lambd * learning_rate * t))
    return {
        # The learning rate may have been edited between init and the first update.
        "rate": jnp.where(started > 0, eta, learning_rate),
        "weight": mu,
        "is_mean": mu != 1,
        "eta": learning_rate * decay,
        "mu": 1 / jnp.maximum(t - t0, 1),
        "started": jnp.ones_like(started),
    }


@leaf_rule(
    slots=lambda p: {"ax": p},
    step_scalars=_step_scalars,
    carry=_carry,
    needs=("params",),
)
def scale_by_asgd(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative,
    lambd: NonNegative = 1e-4,
    alpha: NonNegative = 0.75,
    t0: Annotated[Hyperparameter, Within("[-1, inf]")] = 1e6,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by a decreasing rate, and averages the new parameters p - u.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        u   = eta (g + lambd p)
        ax <- ax + mu (p - u - ax)
        eta <- learning_rate / (1 + lambd learning_rate t)^alpha
        mu  <- 1 / max(1, t - t0)

    Before the first update, eta = learning_rate, mu = 1 and ax = p; with mu = 1, ax becomes p - u.
    While t0 does not change, ax is the mean of the parameters after the updates t0 + 2, ..., t;
    before update t0 + 2, it is the parameter. A new learning_rate changes eta one update later.

    The state keeps ax, of shape `*p`, in units of p, and the scalars eta and mu.
    `learning_rate` and eta `()` are in units of p per unit of g, `lambd` `()` in units of g per
    unit of p; `t0` `()` is a number of updates, `alpha` `()` has no unit; u is in units of p.
    ax is the average only if p <- p - u follows.

    Args:
      learning_rate: eta at the start; in units of p per unit of g.
      lambd: multiple of p that is added to g, and decay of eta; in units of g per unit of p.
      alpha: exponent of the decay of eta.
      t0: number of updates before the average begins, at least -1.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: torch keeps eta and mu in float32 even for parameters in float64. optax does not
    have ASGD. Polyak & Juditsky average from the first update, `t0=-1.0`, and have no `lambd`.

    Raises:
      ValueError: t0 below -1, another argument negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_asgd(0.5, lambd=0.0, t0=-1.0)
      >>> p, state = 0.0, tx.init(0.0)
      >>> for _ in range(3):
      ...     u, state = tx.update(-2.0, state, p)
      ...     p = p - u
      >>> float(p), float(state.ax)
      (3.0, 2.0)

    Reference: Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM
    Journal on Control and Optimization 30, 1992. The rates: Xu, Towards Optimal One Pass Large
    Scale Learning with Averaged Stochastic Gradient Descent, 2011, arXiv:1107.2490.
    """
    del learning_rate, alpha, t0, state_dtype
    u = ctx.rate * (g + lambd * p)
    moved = p - u
    mean = slots.ax + ctx.weight * (moved - slots.ax)
    # With mu = 1 the mean is the new parameter, which ax + (moved - ax) equals only up to rounding.
    # The mean comes first: in this order XLA compiles one loop for all leaves of a shape.
    return u, {"ax": jax.lax.select(ctx.is_mean, mean, moved)}


@composed
def asgd(
    learning_rate: ScalarOrSchedule,
    lambd: ScalarOrSchedule = 1e-4,
    alpha: ScalarOrSchedule = 0.75,
    t0: ScalarOrSchedule = 1e6,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """ASGD: `scale_by_asgd`, then a change of sign, because u points uphill.

        p <- p - u,    u from `scale_by_asgd`

    The average of the parameters is the slot `ax` of the state.

    Args:
      See `scale_by_asgd`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.asgd(0.5, lambd=0.0, t0=-1.0)
      >>> params, state = {"w": 0.0}, tx.init({"w": 0.0})
      >>> for _ in range(3):
      ...     updates, state = tx.update({"w": -2.0}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> params, state.scale_by_asgd.ax
      ({'w': Array(3., dtype=float32)}, {'w': Array(2., dtype=float32)})

    Reference: Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM
    Journal on Control and Optimization 30, 1992.
    """
    return chain(
        scale_by_asgd(learning_rate, lambd, alpha, t0, state_dtype=state_dtype), scale(-1.0)
    )
