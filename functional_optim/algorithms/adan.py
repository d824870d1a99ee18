"""Adan: adaptive Nesterov momentum, by differences of gradients."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import mean_weights, running_mean
from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adan", "scale_by_adan"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    return {k: jnp.zeros_like(p) for k in ("mu", "delta", "nu", "previous")}


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, b2: Array, b3: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    betas = {"b1": b1, "b2": b2, "b3": b3}
    means = zip(("mu", "delta", "nu"), betas, strict=True)
    weights = {mean: mean_weights(t, betas[b], last[b]) for mean, b in means}
    return weights | {"first": t == 1}, betas


@leaf_rule(
    slots=_slots,
    clock=_clock,
    memory=("b1", "b2", "b3"),
    bounds={
        "b1": "[0, 1)",
        "b2": "[0, 1)",
        "b3": "[0, 1)",
        "eps": "[0, inf)",
        "eps_root": "[0, inf)",
    },
)
def scale_by_adan(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.98,
    b2: Hyperparameter = 0.92,
    b3: Hyperparameter = 0.99,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Divides means of updates and of their changes by a running root mean square of both.

    For one parameter of shape `*p` and its update number t = 1, 2, ..., with d the change of g
    since its last update, 0 at the first:

        m <- b1 m + (1 - b1) g                mu    = m / (1 - b1^t)
        n <- b2 n + (1 - b2) d                delta = n / (1 - b2^t)
        v <- b3 v + (1 - b3) (g + b2 d)^2     nu    = v / (1 - b3^t)
        u  = (mu + b2 delta) / (sqrt(nu + eps_root) + eps)

    The state keeps mu, delta and nu, the means themselves, and the last g as `previous`, each of
    shape `*p`. `b1`, `b2`, `b3` `()` have no unit; `eps` `()` is in units of g and `eps_root`
    in units of g^2; u has no unit.

    Differences: the betas are those of the authors' code, 1 minus those of the paper; the
    change weighs b2 as there, where optax has 1 - b2.

    Raises:
      ValueError: b1, b2 or b3 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adan()
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init({"w": jnp.zeros(2)}))
      >>> print(updates["w"].round(4))
      [ 1. -1.]

    Reference: Xie et al., Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep
    models, TPAMI 2024, Algorithm 1, arXiv:2208.06677.
    """
    del p, b1, b3
    change = jnp.where(now.first, jnp.zeros_like(g), g - slots.previous)
    mu = running_mean(slots.mu, g, now.mu)
    delta = running_mean(slots.delta, change, now.delta)
    nu = running_mean(slots.nu, jnp.square(g + b2 * change), now.nu)
    u = (mu + b2 * delta) / (safe_sqrt(nu + eps_root) + eps)
    return u, {"mu": mu, "delta": delta, "nu": nu, "previous": g}


@optimizer(scale_by_adan, add_decayed_weights, defaults={"eps_root": 1e-8})
def adan() -> None:
    """Adan: `scale_by_adan`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adan`

    `learning_rate` `()` is in units of p.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Differences: the decay is that of AdamW, the authors' `no_prox=True`; their default divides p
    by 1 + learning_rate weight_decay after the step. eps_root is optax's.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adan(0.1)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Xie et al., Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep
    models, TPAMI 2024, Algorithm 1, arXiv:2208.06677.
    """
