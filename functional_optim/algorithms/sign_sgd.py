"""Sign descent: steps by the signs of gradients, or of their momentum."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.protocol import GradientTransformation
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.momentum import ema
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["scale_by_sign", "sign_sgd", "signum"]

Array = jax.Array


@leaf_rule(row_sparse=True)
def scale_by_sign(
    g: Array, slots: Slots, p: None, ctx: StepContext
) -> tuple[Array, dict[str, Array]]:
    """Replaces updates by their signs, with sign(0) = 0.

    A complex element has the signs of its real and imaginary parts. u has no unit.

    Differences: for a complex element, optax returns g / |g|.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_sign()
      >>> tx.update({"w": jnp.array([3.0, 0.0, -0.2])}, tx.init({"w": jnp.zeros(3)}))[0]
      {'w': Array([ 1.,  0., -1.], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 1, arXiv:1802.04434.
    """
    del slots, p, ctx
    return jnp.sign(g), {}


@composed
def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """Sign descent: every element moves by the learning rate, against the sign of the gradient.

    `learning_rate` `()` is in units of p.

    Args:
      learning_rate: length of the step of each element, a number or a schedule.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sign_sgd(0.1)
      >>> tx.update({"w": jnp.array([3.0, -0.2])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([-0.1,  0.1], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 1, arXiv:1802.04434.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


_mean = renamed(ema, decay="beta")


@composed
def signum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarOrSchedule = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformation:
    """Signum: the signs of a running mean of gradients.

        m <- beta m + (1 - beta) g
        p <- p - learning_rate sign(m)

    `learning_rate` `()` is in units of p; `beta` `()` has no unit.

    Args:
      learning_rate: length of the step of each element, a number or a schedule.
      beta: decay of m, in [0, 1).
      accumulator_dtype: dtype of the mean.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.signum(0.1)
      >>> tx.update({"w": jnp.array([3.0, -0.2])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([-0.1,  0.1], dtype=float32)}

    Reference: Bernstein et al., signSGD: Compressed optimisation for non-convex problems, ICML
    2018, Algorithm 2, arXiv:1802.04434.
    """
    return chain(
        _mean(beta, debias=False, accumulator_dtype=accumulator_dtype),  # signs need no correction
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )
