"""Sign descent: the signs of gradients, or of their momentum."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rule import leaf_rule
from ..transforms.momentum import ema
from ..transforms.recipe import optimizer

__all__ = ["scale_by_sign", "sign_sgd", "signum"]

Array = jax.Array


@leaf_rule(rows=True)
def scale_by_sign(g: Array, slots: Any, p: None, now: Any) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their signs, of which that of 0 is 0.

    Of a complex element the sign is taken of both parts. u has no unit.

    Differences: of a complex element, optax takes g / |g|.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_sign()
      >>> tx.update({"w": jnp.array([3.0, 0.0, -0.2])}, tx.init({"w": jnp.zeros(3)}))[0]
      {'w': Array([ 1.,  0., -1.], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 1, arXiv:1802.04434.
    """
    del slots, p, now
    return jnp.sign(g), {}


@optimizer(scale_by_sign)
def sign_sgd() -> None:
    """Sign descent: every element moves by the learning rate, against its gradient's sign.

    `learning_rate` `()` is in units of p.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sign_sgd(0.1)
      >>> tx.update({"w": jnp.array([3.0, -0.2])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([-0.1,  0.1], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 1, arXiv:1802.04434.
    """


def _momentum(beta: Hyperparameter = 0.9, accumulator_dtype: Any = None) -> GradientTransformation:
    """The mean of past gradients; bias correction would not change its signs."""
    return ema(beta, debias=False, accumulator_dtype=accumulator_dtype)


@optimizer(_momentum, scale_by_sign)
def signum() -> None:
    """Signum: the signs of a running mean of gradients.

        m <- beta m + (1 - beta) g
        p <- p - learning_rate sign(m)

    `learning_rate` `()` is in units of p; `beta` `()` has no unit.

    Args:
      accumulator_dtype: dtype in which the mean is kept.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.signum(0.1)
      >>> tx.update({"w": jnp.array([3.0, -0.2])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([-0.1,  0.1], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 2, arXiv:1802.04434.
    """
