"""Lion: the sign of an interpolated momentum."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["lion", "scale_by_lion"]

Array = jax.Array


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p)},
    slot_dtypes={"mu_dtype": "mu"},
    bounds={"b1": "[0, 1)", "b2": "[0, 1)"},
)
def scale_by_lion(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.99,
    mu_dtype: Any = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the sign of a mean of the momentum and the update.

    For one parameter of shape `*p`:

        u   = sign(b1 mu + (1 - b1) g),    sign(0) = 0
        mu <- b2 mu + (1 - b2) g

    The state keeps mu, of shape `*p`, in units of g. `b1` and `b2` `()` have no unit, and u
    has none.

    Args:
      mu_dtype: dtype in which mu is kept; bfloat16 is known to do.

    Differences: none from the authors' code; optax adds smooth and refined modes. Of a
    complex element the sign is taken of both parts.

    Raises:
      ValueError: b1 or b2 outside [0, 1).

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_lion()
      >>> params = {"w": jnp.zeros(3)}
      >>> tx.update({"w": jnp.array([3.0, 0.0, -0.2])}, tx.init(params), params)[0]
      {'w': Array([ 1.,  0., -1.], dtype=float32)}

    Reference: Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023,
    Algorithm 2, arXiv:2302.06675.
    """
    del p, now, mu_dtype
    u = jnp.sign(b1 * slots.mu + (1 - b1) * g)
    return u, {"mu": b2 * slots.mu + (1 - b2) * g}


@optimizer(scale_by_lion, add_decayed_weights, defaults={"weight_decay": 1e-3})
def lion() -> None:
    """Lion: `scale_by_lion`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u = -1, 0 or 1

    `learning_rate` `()` is in units of p: each element moves by it. The authors take it 3 to
    10 times smaller than for AdamW, and `weight_decay`, in units of 1 / p, 3 to 10 times
    larger.

    Args:
      mask: where to decay: tree of booleans or function of the parameters, see `masked`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.lion(0.1, weight_decay=0.0)
      >>> params = {"w": jnp.array([1.0, -1.0])}
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array([ 0.9, -0.9], dtype=float32)}

    Reference: Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023,
    Algorithm 2, arXiv:2302.06675.
    """
