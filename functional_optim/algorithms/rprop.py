"""Rprop: steps whose sizes follow the signs of the gradient alone."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.recipe import optimizer
from ..transforms.scaling import scale

__all__ = ["rprop", "scale_by_rprop"]

Array = jax.Array


@leaf_rule(
    slots=lambda p: {"prev": jnp.zeros_like(p), "step_size": jnp.zeros_like(p)},
    bounds={
        "learning_rate": "[0, inf)",
        "eta_minus": "(0, 1)",
        "eta_plus": "(1, inf)",
        "min_step_size": "[0, inf)",
        "max_step_size": "[0, inf]",
    },
)
def scale_by_rprop(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    learning_rate: Hyperparameter,
    eta_minus: Hyperparameter = 0.5,
    eta_plus: Hyperparameter = 1.2,
    min_step_size: Hyperparameter = 1e-6,
    max_step_size: Hyperparameter = 50.0,
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by steps of their sign, which grow until the sign changes.

    For one parameter of shape `*p`, element by element, with step_size = learning_rate and
    prev = 0 before its first update:

        agree     = sign(g) sign(prev)
        step_size <- eta_plus step_size     where agree > 0
                     eta_minus step_size    where agree < 0
                     within [min_step_size, max_step_size]
        g        <- 0                       where agree < 0
        u         = step_size sign(g)
        prev     <- g

    so that an element whose sign has changed rests for one step, and its step_size for the
    next one too. The state keeps prev, in units of g, and step_size, in units of p, both of
    shape `*p` and 0 until the first update. `learning_rate`, `min_step_size` and
    `max_step_size` `()` are in units of p, the etas have none; u is in units of p. A
    `learning_rate` that is set later counts for parameters that had no update yet.

    Made for gradients of whole batches: those of small ones change sign by chance.

    Differences: this is iRprop- of Igel & Hüsken, as torch has it; Riedmiller & Braun also
    take back the step after which the sign changed. torch multiplies g and prev, which
    underflows for small gradients, and so misses changes of sign. optax makes each step one
    update late, and not at all where the sign has changed by then.

    Raises:
      ValueError: eta_minus outside (0, 1), eta_plus not above 1, or a step size negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_rprop(1.0, eta_plus=1.5)
      >>> state, found = tx.init(0.0), []
      >>> for g in (3.0, 7.0, -2.0, -0.1):
      ...     u, state = tx.update(g, state)
      ...     found.append(float(u))
      >>> found
      [1.0, 1.5, 0.0, -0.75]

    Reference: Igel & Hüsken, Improving the Rprop Learning Algorithm, Neural Computation 2000,
    iRprop-. Riedmiller & Braun, A Direct Adaptive Method for Faster Backpropagation Learning:
    The RPROP Algorithm, IEEE International Conference on Neural Networks, 1993.
    """
    del p
    agree = jnp.sign(g) * jnp.sign(slots.prev)
    size = jnp.where(now.t == 1, learning_rate, slots.step_size)
    factor = jnp.where(agree > 0, eta_plus, jnp.where(agree < 0, eta_minus, 1))
    size = jnp.minimum(jnp.maximum(size * factor, min_step_size), max_step_size)
    g = jnp.where(agree < 0, 0, g)
    return size * jnp.sign(g), {"prev": g, "step_size": size}


@optimizer(scale_by_rprop, last=lambda learning_rate: scale(-1.0))
def rprop() -> None:
    """Rprop: `scale_by_rprop`, then the step against it.

        p <- p - u,    u from `scale_by_rprop`

    `learning_rate` `()` is the size of a parameter's first step, in units of p.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.rprop(0.1)
      >>> params = {"w": jnp.array([1.0, 1.0])}
      >>> updates, _ = tx.update({"w": jnp.array([1e-9, -1e9])}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array([0.9, 1.1], dtype=float32)}

    Reference: Igel & Hüsken, Improving the Rprop Learning Algorithm, Neural Computation 2000.
    """
