"""NovoGrad: momentum of gradients that are normalized parameter by parameter."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.norms import leaf_norm
from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer

__all__ = ["novograd", "scale_by_novograd"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    real = jnp.finfo(p.dtype).dtype
    return {"mu": jnp.zeros_like(p), "nu": jnp.zeros((), real)}


@leaf_rule(
    slots=_slots,
    requires=("params",),
    slot_dtypes={"mu_dtype": "mu"},
    parts=False,
    bounds={
        "b1": "[0, 1)",
        "b2": "[0, 1)",
        "eps": "[0, inf)",
        "eps_root": "[0, inf)",
        "weight_decay": "[0, inf)",
    },
)
def scale_by_novograd(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.25,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    mu_dtype: Any = None,
) -> tuple[Array, dict[str, Array]]:
    """Accumulates updates over the running root mean square of their norms.

    For one parameter of shape `*p`, with the norm `()` of its whole update:

        nu <- b2 nu + (1 - b2) |g|^2,    nu = |g|^2 at its first update
        mu <- b1 mu + g / (sqrt(nu + eps_root) + eps) + weight_decay p
        u   = mu

    The state keeps mu, of shape `*p`, and nu `()`. `b1`, `b2` `()` have no unit; `eps` `()` is
    in units of g, `eps_root` in units of g^2, `weight_decay` in units of 1 / p.

    Args:
      mu_dtype: dtype in which mu is kept.

    Differences: none from the paper; defaults are those of optax (the paper has b1 = 0.95,
    b2 = 0.98).

    Raises:
      ValueError: b1 or b2 outside [0, 1); eps, eps_root or weight_decay negative; `update` is
        called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_novograd(eps=0.0), {"w": jnp.zeros(2)}
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)[0]
      {'w': Array([0.6, 0.8], dtype=float32)}

    Reference: Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for
    training of deep networks, 2019, Algorithm 1, arXiv:1905.11286.
    """
    del mu_dtype
    squared = jnp.square(leaf_norm(g))
    nu = jnp.where(now.t == 1, squared, b2 * jnp.real(slots.nu) + (1 - b2) * squared)
    root = safe_sqrt(nu + eps_root) + eps
    b1, root, weight_decay = (x.astype(g.dtype) for x in (b1, root, weight_decay))
    mu = b1 * slots.mu + g / root + weight_decay * p
    return mu, {"mu": mu, "nu": nu}


@optimizer(scale_by_novograd, defaults={"eps": 1e-6})
def novograd() -> None:
    """NovoGrad: `scale_by_novograd`, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p: the norm of each parameter's step is at most about
    learning_rate / (1 - b1).

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.novograd(1.0, eps=0.0), {"w": jnp.zeros(2)}
      >>> updates, _ = tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [-0.6 -0.8]

    Reference: Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for
    training of deep networks, 2019, Algorithm 1, arXiv:1905.11286.
    """
