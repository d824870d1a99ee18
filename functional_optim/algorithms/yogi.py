"""Yogi: second moments that grow and shrink by no more than a gradient's square."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import MeanWeights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["scale_by_yogi", "yogi"]

Array = jax.Array


def _slots(p: Array, initial_accumulator_value: Any) -> dict[str, Array]:
    return {k: jnp.full_like(p, initial_accumulator_value) for k in ("mu", "nu")}


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, b2: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    return {"mu_total": one_minus_power(b1, t), "nu_total": one_minus_power(b2, t)}, {}


@leaf_rule(
    slots=_slots,
    clock=_clock,
    initial=("initial_accumulator_value",),
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "eps": "[0, inf)", "eps_root": "[0, inf)"},
)
def scale_by_yogi(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-3,
    eps_root: Hyperparameter = 0.0,
    initial_accumulator_value: float = 1e-6,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by the root of a second moment that changes slowly.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        mu <- b1 mu + (1 - b1) g
        nu <- nu - (1 - b2) sign(nu - g^2) g^2
        u   = mu / (1 - b1^t) / (sqrt(nu / (1 - b2^t) + eps_root) + eps)

    with mu = nu = initial_accumulator_value at the start. The state keeps both, each of shape
    `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is in units of g and `eps_root` in units of
    g^2; u has no unit.

    Differences: the paper has no bias correction, and starts nu at the square of a first
    batch's gradient; here both are as in the authors' TensorFlow code and in optax.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_yogi(b1=0.0, b2=0.0, eps=0.0, initial_accumulator_value=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      1.0

    Reference: Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018,
    Algorithm 2.
    """
    del p, initial_accumulator_value
    squared = jnp.square(g)
    mu = running_mean(slots.mu, g, MeanWeights(drift=0.0, gain=1 - b1))
    nu = slots.nu - (1 - b2) * jnp.sign(slots.nu - squared) * squared
    root = safe_sqrt(nu / now.nu_total + eps_root)
    return mu / now.mu_total / (root + eps), {"mu": mu, "nu": nu}


@optimizer(scale_by_yogi, order=("b1", "b2", "eps"))
def yogi() -> None:
    """Yogi: `scale_by_yogi`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.yogi(0.1, b1=0.0, b2=0.0, eps=0.0, initial_accumulator_value=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      -0.1

    Reference: Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018,
    Algorithm 2.
    """
