"""Adam, and AdamW: adaptive moment estimation, with coupled and decoupled weight decay."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.moments import AheadWeights, ahead_weights, look_ahead, mean_weights, running_mean
from ..core.precision import one_minus_power, safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adam", "adamw", "scale_by_adam"]

Array = jax.Array


def _slots(p: Array, amsgrad: bool) -> dict[str, Array]:
    names = ("mu", "nu", "nu_max") if amsgrad else ("mu", "nu")
    return {k: jnp.zeros_like(p) for k in names}


def _clock(
    t: Array,
    last: Mapping[str, Array],
    b1: Array,
    b2: Array,
    nesterov: bool,
    amsgrad: bool,
    momentum_decay: Array | None,
    **_: Any,
) -> tuple[dict[str, Any], dict[str, Array]]:
    scalars: dict[str, Any] = {
        "mu": mean_weights(t, b1, last["b1"]),
        "nu": mean_weights(t, b2, last["b2"]),
    }
    memory = {"b1": b1, "b2": b2}
    if momentum_decay is not None:
        before = jnp.where(t == 1, 1.0, last["mu_product"])
        scalars["ahead"], memory["mu_product"] = _scheduled(t, b1, momentum_decay, before)
    elif nesterov:
        scalars["ahead"] = ahead_weights(t, b1)
    if amsgrad:
        scalars["nu_total"] = one_minus_power(b2, t)
    return scalars, memory


def _scheduled(
    t: Array, b1: Array, momentum_decay: Array, before: Array
) -> tuple[AheadWeights, Array]:
    """Weights of the look ahead with Dozat's schedule, and the product of its terms so far."""
    term, following = (b1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
    product = before * term
    mean = following * one_minus_power(b1, t) / (1 - product * following)
    return AheadWeights(mean, (1 - term) / (1 - product)), product


def _memory(momentum_decay: Any) -> tuple[str, ...]:
    return ("b1", "b2") if momentum_decay is None else ("b1", "b2", "mu_product")


def _check(given: Mapping[str, Any]) -> str | None:
    if given["momentum_decay"] is None or given["nesterov"]:
        return None
    return (
        f"momentum_decay must be None without nesterov, got {given['momentum_decay']!r}. "
        "Pass nesterov=True as well."
    )


@leaf_rule(
    slots=_slots,
    clock=_clock,
    memory=_memory,
    static=("nesterov", "amsgrad"),
    optional=("momentum_decay",),
    slot_dtypes={"mu_dtype": "mu"},
    bounds={
        "b1": "[0, 1)",
        "b2": "[0, 1)",
        "eps": "[0, inf)",
        "eps_root": "[0, inf)",
        "momentum_decay": "[0, inf)",
    },
    check=_check,
)
def scale_by_adam(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    amsgrad: bool = False,
    momentum_decay: Hyperparameter | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides a running mean of updates by their running root mean square.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g        mu = m / (1 - b1^t)
        v <- b2 v + (1 - b2) g^2      nu = v / (1 - b2^t)
        u  = mu / (sqrt(nu + eps_root) + eps)

    The state keeps mu and nu, each of shape `*p`: the means themselves, bias-corrected,
    which float32 holds exactly where m and v would stall. `b1`, `b2` `()` have no unit;
    `eps` `()` is in units of g and `eps_root` in units of g^2; u has no unit.

    Args:
      mu_dtype: dtype in which mu is kept.
      nesterov: look ahead: mu becomes b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).
      amsgrad: divide by the largest v so far: the state keeps nu_max <- max(nu_max, v), and
        nu becomes nu_max / (1 - b2^t).
      momentum_decay: look ahead with a momentum that grows with t, per update, without a unit:
        with b(t) = b1 (1 - 0.96^(t momentum_decay) / 2) and P(t) = b(1) b(2) ... b(t), mu
        becomes b(t+1) m / (1 - P(t+1)) + (1 - b(t)) g / (1 - P(t)); m itself decays by b1.

    Differences: none from the paper, from torch with its defaults, and from optax with
    `eps_root`. The state of optax and torch is m and v. amsgrad follows torch, which takes
    the maximum before bias correction; `scale_by_amsgrad` takes it after it, as optax, or has
    no correction, as the paper of AMSGrad. nesterov alone follows Dozat and optax, and
    momentum_decay torch; in Dozat's paper, m decays by b(t) too. Complex parameters are pairs
    of real ones, as in torch; optax takes |g|^2.

    Raises:
      ValueError: b1 or b2 outside [0, 1); eps, eps_root or momentum_decay negative;
        momentum_decay without nesterov.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_adam()
      >>> params = {"w": jnp.zeros(2)}
      >>> updates, state = tx.update({"w": jnp.array([10.0, -0.1])}, tx.init(params), params)
      >>> updates["w"].round(4).tolist(), state.mu["w"].tolist()
      ([1.0, -1.0], [10.0, -0.10000000149011612])

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 1, arXiv:1412.6980. Reddi, Kale & Kumar, On the Convergence of Adam and
    Beyond, ICLR 2018, Algorithm 2, arXiv:1904.09237. Dozat, Incorporating Nesterov Momentum
    into Adam, ICLR 2016 workshop.
    """
    del p, mu_dtype, momentum_decay
    mu = running_mean(slots.mu, g, now.mu)
    nu = running_mean(slots.nu, jnp.square(g), now.nu)
    kept = {"mu": mu, "nu": nu}
    if amsgrad:
        kept["nu_max"] = jnp.maximum(slots.nu_max, nu * now.nu_total)
        nu = kept["nu_max"] / now.nu_total
    if nesterov:
        mu = look_ahead(mu, g, now.ahead)
    return mu / (safe_sqrt(nu + eps_root) + eps), kept


@optimizer(scale_by_adam)
def adam() -> None:
    """Adam: `scale_by_adam`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: no element moves by much more than it in a step.
    The other arguments, the maths and the differences from other libraries are those of
    `scale_by_adam`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adam(0.1)
      >>> params = {"w": jnp.array([1.0, -2.0])}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     grads = jax.tree.map(lambda w: 2 * w, params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params["w"]).max() < 0.05)
      True

    Reference: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015,
    Algorithm 1, arXiv:1412.6980.
    """


@optimizer(scale_by_adam, add_decayed_weights, defaults={"weight_decay": 1e-4})
def adamw() -> None:
    """AdamW: `scale_by_adam`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adam`

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p. The decay is
    multiplied by the learning rate, as in torch and optax; in the paper it is not, but by
    the schedule's multiplier alone.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Example:
      >>> import functional_optim as fo
      >>> matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
      >>> tx = fo.adamw(1e-3, weight_decay=0.1, mask=matrices)
      >>> params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
      >>> grads = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(grads, tx.init(params), params)
      >>> updates["bias"].tolist(), round(float(updates["kernel"][0, 0]), 8)
      ([-0.0, -0.0], -0.0001)

    Reference: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    Algorithm 2, arXiv:1711.05101.
    """
