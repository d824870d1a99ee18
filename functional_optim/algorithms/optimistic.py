"""Optimistic gradients: what the last change foretells is taken along."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from .adam import scale_by_adam

__all__ = ["optimistic_adam_v2", "optimistic_gradient_descent", "scale_by_optimistic_gradient"]

Array = jax.Array


@leaf_rule(slots=lambda p: {"previous": jnp.zeros_like(p)})
def scale_by_optimistic_gradient(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    alpha: Hyperparameter = 1.0,
    beta: Hyperparameter = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """Adds to updates a multiple of how they have changed.

    For one parameter of shape `*p`:

        u = alpha g + beta (g - previous),    previous = g at its first update

    The state keeps previous, of shape `*p`, in units of g. `alpha` and `beta` `()` have no
    unit.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_optimistic_gradient()
      >>> _, state = tx.update({"w": 1.0}, tx.init({"w": 0.0}))
      >>> tx.update({"w": 3.0}, state)[0]
      {'w': Array(5., dtype=float32)}

    Reference: Mokhtari, Ozdaglar & Pattathil, A unified analysis of extra-gradient and
    optimistic gradient methods for saddle point problems, AISTATS 2020, equation 6,
    arXiv:1901.08511.
    """
    del p
    change = jnp.where(now.t == 1, jnp.zeros_like(g), g - slots.previous)
    return alpha * g + beta * change, {"previous": g}


@optimizer(scale_by_optimistic_gradient)
def optimistic_gradient_descent() -> None:
    """Optimistic gradient descent: `scale_by_optimistic_gradient`, then a step.

    `learning_rate` `()` is in units of p per unit of g. On a saddle, where gradient descent
    circles away, it converges.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.optimistic_gradient_descent(0.1)
      >>> params = jnp.array([1.0, 1.0])  # x and y of x y, of which x is to be least, y greatest
      >>> state = tx.init(params)
      >>> for _ in range(1000):
      ...     grads = jnp.array([params[1], -params[0]])
      ...     updates, state = tx.update(grads, state)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params).max() < 0.02)
      True

    Reference: Mokhtari, Ozdaglar & Pattathil, A unified analysis of extra-gradient and
    optimistic gradient methods for saddle point problems, AISTATS 2020, arXiv:1901.08511.
    """


@optimizer(
    scale_by_adam,
    scale_by_optimistic_gradient,
    order=("alpha", "beta", "b1", "b2", "eps", "eps_root", "mu_dtype"),
    defaults={"nesterov": True},
)
def optimistic_adam_v2() -> None:
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient`, then a step.

    `learning_rate` `()` is in units of p.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.optimistic_adam_v2(0.1, nesterov=False)
      >>> updates, _ = tx.update({"w": 2.0}, tx.init({"w": 0.0}))
      >>> print(f"{updates['w']:.4f}")
      -0.1000

    Reference: Daskalakis et al., Training GANs with optimism, ICLR 2018, Algorithm 1,
    arXiv:1711.00141.
    """
