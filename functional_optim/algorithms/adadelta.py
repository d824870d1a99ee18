"""Adadelta: steps as large as recent steps were, per recent gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import MeanWeights, running_mean
from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adadelta", "scale_by_adadelta"]

Array = jax.Array


@leaf_rule(
    slots=lambda p: {"e_g": jnp.zeros_like(p), "e_x": jnp.zeros_like(p)},
    bounds={"rho": "[0, 1]", "eps": "[0, inf)"},
)
def scale_by_adadelta(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    rho: Hyperparameter = 0.9,
    eps: Hyperparameter = 1e-6,
) -> tuple[Array, dict[str, Array]]:
    """Gives updates the root mean square of the updates made before.

    For one parameter of shape `*p`:

        e_g <- rho e_g + (1 - rho) g^2
        u    = sqrt(e_x + eps) / sqrt(e_g + eps) g
        e_x <- rho e_x + (1 - rho) u^2

    and u = 0 where e_g + eps = 0. The state keeps e_g and e_x as above, of shape `*p`, 0 at
    the start. `rho` `()` has no unit. u is in units of p, and e_x in units of p^2, as long as
    e_g outweighs eps; eps itself is added to p^2 and to g^2 alike, and is the square of the
    steps that a run begins with, so that it cannot be 0.

    Differences: none from optax. In torch a gradient of 0 gives NaN with eps = 0. The
    paper's experiments have rho 0.95.

    Raises:
      ValueError: rho outside [0, 1], or eps negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adadelta(rho=0.0, eps=16.0)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(2.4, dtype=float32)}

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, Algorithm 1,
    arXiv:1212.5701.
    """
    del p, now
    weights = MeanWeights(drift=0.0, gain=1 - rho)
    e_g = running_mean(slots.e_g, jnp.square(g), weights)
    r = safe_sqrt(e_g + eps)
    u = safe_sqrt(slots.e_x + eps) / jnp.where(r > 0, r, 1) * g
    return u, {"e_g": e_g, "e_x": running_mean(slots.e_x, jnp.square(u), weights)}


@optimizer(
    add_decayed_weights,
    scale_by_adadelta,
    defaults={"learning_rate": 1.0},
    order=("rho", "eps", "weight_decay", "weight_decay_mask"),
    names={"mask": "weight_decay_mask"},
)
def adadelta() -> None:
    """Adadelta: an L2 penalty, `scale_by_adadelta`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_adadelta` of g + weight_decay p

    `learning_rate` `()` has no unit: u is a step by itself. `weight_decay` `()` is in units of
    g per unit of p.

    Args:
      weight_decay_mask: where to decay: tree of booleans or function of the parameters, see
        `masked`.

    Differences: in optax the learning rate is None by default, and updates then keep the sign
    of the gradient; here it is the 1 of the paper, which has none, and of torch.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adadelta(rho=0.0, eps=16.0)
      >>> params = {"w": 0.0}
      >>> updates, _ = tx.update({"w": 3.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(-2.4, dtype=float32)}

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, arXiv:1212.5701.
    """
