"""Gradient descent with noise."""

import jax

from ..core.chain import chain
from ..core.composed import composed
from ..core.protocol import GradientTransformation
from ..core.types import ScalarOrSchedule
from ..transforms.noise import add_noise
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["noisy_sgd"]


@composed
def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: ScalarOrSchedule = 0.01,
    gamma: ScalarOrSchedule = 0.55,
    key: int | jax.Array | None = None,
) -> GradientTransformation:
    """Noisy gradient descent: `add_noise`, then a step of minus the learning rate.

        p <- p - learning_rate (g + sigma_t n),    n standard normal

    With t updates before this one, sigma_t^2 = eta / (1 + t)^gamma. `learning_rate` `()` is in
    units of p per unit of g.

    Args:
      key: an integer, or a key of `jax.random.key`; required.
      See `add_noise` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.noisy_sgd(0.5, eta=0.0, key=0)
      >>> tx.update({"w": 1.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(-0.5, dtype=float32)}

    Reference: Neelakantan et al., Adding gradient noise improves learning for very deep networks,
    2015, section 3, arXiv:1511.06807.
    """
    return chain(add_noise(eta, gamma, key), scale_by_learning_rate(learning_rate))
