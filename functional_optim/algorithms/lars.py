"""LARS: momentum of updates as long as their parameters."""

from typing import Any

from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rule import renamed
from ..transforms.masking import masked
from ..transforms.momentum import trace
from ..transforms.recipe import optimizer
from ..transforms.trust_ratio import scale_by_trust_ratio
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["lars"]


def _trust_ratio(
    trust_coefficient: Hyperparameter = 0.001,
    eps: Hyperparameter = 0.0,
    trust_ratio_mask: Any = True,
) -> GradientTransformation:
    return masked(scale_by_trust_ratio(0.0, trust_coefficient, eps), trust_ratio_mask)


_trace = renamed(trace, decay="momentum")


def _momentum(momentum: Hyperparameter = 0.9, nesterov: bool = False) -> GradientTransformation:
    return _trace(momentum, nesterov)


@optimizer(
    add_decayed_weights,
    _trust_ratio,
    names={"mask": "weight_decay_mask"},
    defaults={"weight_decay_mask": True},
    after=(_momentum,),
)
def lars() -> None:
    """LARS: L2 penalty, `scale_by_trust_ratio`, the learning rate, then momentum.

        r <- g + weight_decay p
        b <- momentum b - learning_rate trust_coefficient r |p| / (|r| + eps)
        p <- p + b

    with norms of whole parameters; r itself, without the coefficient, where one is 0.
    `learning_rate` times `trust_coefficient` `()` has no unit: it is the relative change of a
    parameter's norm.

    Args:
      weight_decay_mask: where to decay: tree of booleans or function of the parameters.
      trust_ratio_mask: where to scale; the others, often biases and scales of normalizations,
        take a step of plain momentum.

    Differences: the paper divides by |g| + weight_decay |p|; here and in optax it is
    |g + weight_decay p|, as in the paper of LAMB.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx, params = fo.lars(1.0, momentum=0.0), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([6.0, 8.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [-0.003 -0.004]

    Reference: You, Gitman & Ginsburg, Large batch training of convolutional networks, 2017,
    Algorithm 1, arXiv:1708.03888.
    """
