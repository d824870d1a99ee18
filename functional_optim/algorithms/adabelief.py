"""AdaBelief: small steps where gradients come as a surprise."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.moments import ahead_weights, look_ahead, mean_weights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adabelief", "scale_by_belief"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, b2: Array, nesterov: bool, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    scalars: dict[str, Any] = {
        "mu": mean_weights(t, b1, last["b1"]),
        "mu_total": one_minus_power(b1, t),
        "nu_total": one_minus_power(b2, t),
    }
    if nesterov:
        scalars["ahead"] = ahead_weights(t, b1)
    return scalars, {"b1": b1}


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p), "nu": jnp.zeros_like(p)},
    clock=_clock,
    memory=("b1",),
    static=("nesterov",),
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "eps": "[0, inf)", "eps_root": "[0, inf)"},
)
def scale_by_belief(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-16,
    eps_root: Hyperparameter = 1e-16,
    *,
    nesterov: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by how far updates are from it.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m  <- b1 m + (1 - b1) g                             mu = m / (1 - b1^t)
        nu <- b2 nu + (1 - b2) (g - m)^2 + eps_root
        u   = mu / (sqrt(nu / (1 - b2^t)) + eps)

    The state keeps mu and nu, each of shape `*p`. `b1`, `b2` `()` have no unit; `eps` `()` is
    in units of g and `eps_root` in units of g^2; u has no unit.

    Args:
      nesterov: look ahead: mu becomes b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).

    Differences: none from the authors' code without rectification, which has one eps for both;
    in the paper eps_root is added before bias correction and eps, too.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or eps_root negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_belief(b1=0.5, b2=0.0)
      >>> print(tx.update({"w": 4.0}, tx.init({"w": 0.0}))[0]["w"])
      2.0

    Reference: Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients, NeurIPS 2020, Algorithm 2, arXiv:2010.07468.
    """
    del p, b1
    mu = running_mean(slots.mu, g, now.mu)
    surprise = jnp.square(g - now.mu_total * mu)
    nu = b2 * slots.nu + (1 - b2) * surprise + eps_root
    mean = look_ahead(mu, g, now.ahead) if nesterov else mu
    return mean / (safe_sqrt(nu / now.nu_total) + eps), {"mu": mu, "nu": nu}


def _decay(weight_decay: Hyperparameter | None = None, mask: Any = None) -> GradientTransformation:
    return chain() if weight_decay is None else add_decayed_weights(weight_decay, mask)


@optimizer(scale_by_belief, _decay, names={"mask": "weight_decay_mask"})
def adabelief() -> None:
    """AdaBelief: `scale_by_belief`, decoupled weight decay, then a step of minus the rate.

    `learning_rate` `()` is in units of p.

    Args:
      weight_decay: None leaves the link out, so that `update` needs no params.
      weight_decay_mask: where to decay: tree of booleans or function of the parameters.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adabelief(0.1, b1=0.5, b2=0.0)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 4.0}, tx.init(params), params)
      >>> print(updates["w"])
      -0.2

    Reference: Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
    Gradients, NeurIPS 2020, Algorithm 2, arXiv:2010.07468.
    """
