"""ASGD: gradient descent with a slowing rate, and the average of its parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.scaling import scale

__all__ = ["asgd", "scale_by_asgd"]

Array = jax.Array


def _clock(
    t: Array,
    last: Mapping[str, Array],
    learning_rate: Array,
    lambd: Array,
    alpha: Array,
    t0: Array,
) -> tuple[dict[str, Any], dict[str, Array]]:
    first = t == 1
    now = {
        "eta": jnp.where(first, learning_rate, last["eta"]),
        "mu": jnp.where(first, 1, last["mu"]),
    }
    slowed = jnp.exp(-alpha * jnp.log1p(lambd * learning_rate * t))
    return now, {"eta": learning_rate * slowed, "mu": 1 / jnp.maximum(t - t0, 1)}


@leaf_rule(
    slots=lambda p: {"ax": p},
    clock=_clock,
    memory=("eta", "mu"),
    requires=("params",),
    bounds={
        "learning_rate": "[0, inf)",
        "lambd": "[0, inf)",
        "alpha": "[0, inf)",
        "t0": "[-1, inf]",
    },
)
def scale_by_asgd(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    learning_rate: Hyperparameter,
    lambd: Hyperparameter = 1e-4,
    alpha: Hyperparameter = 0.75,
    t0: Hyperparameter = 1e6,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by a slowing rate, and averages the parameters that p - u gives.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        u   = eta (g + lambd p)
        ax <- ax + mu (p - u - ax)
        eta <- learning_rate / (1 + lambd learning_rate t)^alpha
        mu  <- 1 / max(1, t - t0)

    with eta = learning_rate and mu = 1 before the first update, and ax = p, which a mu of 1
    replaces. While t0 does not change, ax is the mean of the parameters after the updates
    t0 + 2, ..., t, and until then the parameter itself. A new learning_rate sets eta for the
    update after the one at which it is in force.

    The state keeps ax, of shape `*p`, in units of p, and in its memory eta and mu of each
    parameter. `learning_rate` and eta `()` are in units of p per unit of g, `lambd` `()` in
    units of g per unit of p; `t0` `()` is a number of updates, `alpha` `()` has no unit; u is
    in units of p. For ax to be the average, p <- p - u must be what follows.

    Differences: none from torch, but that it keeps eta and mu in float32, also for
    parameters in float64. optax has no such rule. Polyak & Juditsky average from the
    beginning, `t0=-1.0`, and have no `lambd`.

    Raises:
      ValueError: t0 below -1, another argument negative, or `update` called without params.

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
    del learning_rate, alpha, t0
    u = now.eta * (g + lambd * p)
    moved = p - u
    ax = jnp.where(now.mu == 1, moved, slots.ax + now.mu * (moved - slots.ax))
    return u, {"ax": ax}


@optimizer(scale_by_asgd, last=lambda learning_rate: scale(-1.0))
def asgd() -> None:
    """ASGD: `scale_by_asgd`, then the step against it.

        p <- p - u,    u from `scale_by_asgd`

    The average of the parameters is the slot `ax` of the state.

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
