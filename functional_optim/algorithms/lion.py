"""Lion: the sign of an interpolated momentum."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["lion", "scale_by_lion"]

Array = jax.Array


def _check(given: Mapping[str, Any]) -> str | None:
    if given["mode"] not in ("hard", "smooth", "refined"):
        return f"mode must be one of 'hard', 'smooth', 'refined', got {given['mode']!r}."
    if given["smooth_beta"] is not None and given["mode"] != "smooth":
        return f"smooth_beta is of mode='smooth', got mode={given['mode']!r}. Leave it out."
    return None


@leaf_rule(
    slots=lambda p: {"mu": jnp.zeros_like(p)},
    static=("mode",),
    optional=("smooth_beta",),
    slot_dtypes={"mu_dtype": "mu"},
    bounds={"b1": "[0, 1)", "b2": "[0, 1)", "smooth_beta": "(0, inf)"},
    check=_check,
)
def scale_by_lion(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.99,
    mu_dtype: Any = None,
    *,
    mode: str = "hard",
    smooth_beta: Hyperparameter | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Takes the sign of a mean of the momentum and the update.

    For one parameter of shape `*p`:

        x   = b1 mu + (1 - b1) g
        u   = sign(x), with sign(0) = 0; tanh(smooth_beta x); or min(max(x, -1), 1)
        mu <- b2 mu + (1 - b2) g

    The state keeps mu, of shape `*p`, in units of g. `b1` and `b2` `()` have no unit, and u
    has none; `smooth_beta` `()` is in units of 1 / g.

    Args:
      mu_dtype: dtype in which mu is kept; bfloat16 is known to do.
      mode: what u is: `"hard"`, the sign; `"smooth"`, the tanh; `"refined"`, x itself between
        -1 and 1.
      smooth_beta: of the tanh; 1 where it is None.

    Differences: none of the sign from the authors' code; the other modes are optax's. Of a
    complex element the sign is taken of both parts.

    Raises:
      ValueError: b1 or b2 outside [0, 1); an unknown mode; smooth_beta not positive, or given in
        another mode.

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
    x = b1 * slots.mu + (1 - b1) * g
    if mode == "hard":
        u = jnp.sign(x)
    elif mode == "smooth":
        u = jnp.tanh(x if smooth_beta is None else smooth_beta * x)
    else:
        u = jnp.clip(x, -1.0, 1.0)
    return u, {"mu": b2 * slots.mu + (1 - b2) * g}


@optimizer(scale_by_lion, add_decayed_weights, defaults={"weight_decay": 1e-3})
def lion() -> None:
    """Lion: `scale_by_lion`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u = -1, 0 or 1 (see `scale_by_lion`)

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
