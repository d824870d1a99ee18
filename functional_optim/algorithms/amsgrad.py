"""AMSGrad: Adam that divides by the largest second moment so far."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import mean_weights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["amsgrad", "scale_by_amsgrad"]

Array = jax.Array


def _clock(
    t: Array, last: Mapping[str, Array], b1: Array, b2: Array, **_: Any
) -> tuple[dict[str, Any], dict[str, Array]]:
    scalars = {
        "mu": mean_weights(t, b1, last["b1"]),
        "nu": mean_weights(t, b2, last["b2"]),
        "mu_total": one_minus_power(b1, t),
        "nu_total": one_minus_power(b2, t),
    }
    return scalars, {"b1": b1, "b2": b2}


@leaf_rule(
    slots=lambda p: {k: jnp.zeros_like(p) for k in ("mu", "nu", "nu_max")},
    clock=_clock,
    memory=("b1", "b2"),
    static=("bias_correction_mu", "bias_correction_nu"),
    slot_dtypes={"mu_dtype": "mu"},
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "eps": "[0, inf)", "eps_root": "[0, inf)"},
)
def scale_by_amsgrad(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by the largest running root mean square so far.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g        mu = m / (1 - b1^t)
        v <- b2 v + (1 - b2) g^2      nu = v / (1 - b2^t)
        nu_max <- max(nu_max, nu)
        u  = mu / (sqrt(nu_max + eps_root) + eps)

    Without bias_correction_mu, u has m for mu; without bias_correction_nu, nu_max has v for
    nu. The state keeps mu, nu and nu_max, each of shape `*p`. `b1`, `b2` `()` have no unit;
    `eps` `()` is in units of g and `eps_root` in units of g^2; u has no unit.

    Args:
      mu_dtype: dtype in which mu is kept.

    Differences: the paper has neither correction and no eps. The defaults are those of optax.
    torch's amsgrad takes the maximum of v and corrects that: `scale_by_adam(amsgrad=True)`.
    After the correction the first g^2 stays in the maximum for good; before it, (1 - b2) of
    it does. Complex parameters are pairs of real ones; optax takes |g|^2.

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
    del p, b1, b2, mu_dtype
    mu = running_mean(slots.mu, g, now.mu)
    nu = running_mean(slots.nu, jnp.square(g), now.nu)
    nu_max = jnp.maximum(slots.nu_max, nu if bias_correction_nu else nu * now.nu_total)
    m = mu if bias_correction_mu else mu * now.mu_total
    return m / (safe_sqrt(nu_max + eps_root) + eps), {"mu": mu, "nu": nu, "nu_max": nu_max}


@optimizer(scale_by_amsgrad)
def amsgrad() -> None:
    """AMSGrad: `scale_by_amsgrad`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p. The other arguments, the maths and the differences
    from other libraries are those of `scale_by_amsgrad`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.amsgrad(0.1)
      >>> fo.apply_updates({"w": 1.0}, tx.update({"w": 3.0}, tx.init({"w": 1.0}))[0])
      {'w': Array(0.9, dtype=float32)}

    Reference: Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, ICLR 2018,
    Algorithm 2, arXiv:1904.09237.
    """
