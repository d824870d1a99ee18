"""Gradient descent with noise."""

from ..transforms.noise import add_noise
from ..transforms.recipe import optimizer

__all__ = ["noisy_sgd"]


@optimizer(add_noise, defaults={"eta": 0.01, "gamma": 0.55, "key": None})
def noisy_sgd() -> None:
    """Noisy gradient descent: `add_noise`, then a step of minus the learning rate.

        p <- p - learning_rate (g + sigma_t n)

    `learning_rate` `()` is in units of p per unit of g.

    Args:
      key: an integer, or a key of `jax.random.key`. There is none that is taken where none is
        given.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.noisy_sgd(0.5, eta=0.0, key=0)
      >>> tx.update({"w": 1.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(-0.5, dtype=float32)}

    Reference: Neelakantan et al., Adding gradient noise improves learning for very deep networks,
    2015, section 3, arXiv:1511.06807.
    """
