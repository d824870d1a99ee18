"""Adagrad: gradients over the root of the sum of their squares."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["adagrad", "scale_by_rss"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], lr_decay: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    return {"slowed": 1 + (t - 1) * lr_decay}, {}


@leaf_rule(
    slots=lambda p, initial_accumulator_value: {
        "sum_of_squares": jnp.full_like(p, initial_accumulator_value)
    },
    clock=_clock,
    initial=("initial_accumulator_value",),
    static=("eps_in_sqrt",),
    bounds={"initial_accumulator_value": "[0, inf)", "eps": "[0, inf)", "lr_decay": "[0, inf)"},
    rows=True,
)
def scale_by_rss(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    initial_accumulator_value: float = 0.1,
    eps: Hyperparameter = 1e-7,
    *,
    eps_in_sqrt: bool = True,
    lr_decay: Hyperparameter = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by the root of the sum of all their squares so far.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        s <- s + g^2,    s = initial_accumulator_value at the start
        r  = sqrt(s + eps), or sqrt(s) + eps without eps_in_sqrt
        u  = g / (r (1 + (t - 1) lr_decay))

    and u = 0 where r = 0. The state keeps s under `sum_of_squares`, of shape `*p`.
    `initial_accumulator_value` is in units of g^2, and so is `eps` `()`, or in units of g
    without eps_in_sqrt; `lr_decay` `()` has no unit; u has no unit.

    Differences: the paper has eps (there delta) outside the root, and s = 0 at the start;
    so has torch, with eps 1e-10 (`initial_accumulator_value=0.0, eps=1e-10,
    eps_in_sqrt=False`). In torch a gradient of 0 gives NaN with eps = 0. optax, whose
    defaults are these, has neither eps outside the root nor lr_decay.

    Raises:
      ValueError: an argument is negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_rss(initial_accumulator_value=7.0, eps=0.0)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(0.75, dtype=float32)}

    Reference: Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization, JMLR 12, 2011, Figure 1 with diagonal matrices.
    """
    del p, initial_accumulator_value, lr_decay
    s = slots.sum_of_squares + jnp.square(g)
    r = safe_sqrt(s + eps) if eps_in_sqrt else safe_sqrt(s) + eps
    return g / (jnp.where(r > 0, r, 1) * now.slowed), {"sum_of_squares": s}


@optimizer(scale_by_rss)
def adagrad() -> None:
    """Adagrad: `scale_by_rss`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_rss`

    `learning_rate` `()` is in units of p. The steps of an element shrink as its gradients add
    up: with constant gradients and both other arguments 0, like 1 / sqrt(t).

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adagrad(0.1, initial_accumulator_value=7.0, eps=0.0)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 3.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.925, dtype=float32)}

    Reference: Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization, JMLR 12, 2011.
    """
