"""LARS: momentum of updates that are scaled to the norms of their parameters."""

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import renamed
from ..core.protocol import GradientTransformation
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.momentum import trace
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.trust_ratio import scale_by_trust_ratio
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["lars"]

_momentum = renamed(trace, decay="momentum")


@composed
def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: MaskOrFn = True,
    trust_coefficient: ScalarOrSchedule = 0.001,
    eps: ScalarOrSchedule = 0.0,
    trust_ratio_mask: MaskOrFn = True,
    momentum: ScalarOrSchedule = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:
    """LARS: L2 penalty, `scale_by_trust_ratio`, the learning rate, then momentum.

        r <- g + weight_decay p
        b <- momentum b - learning_rate trust_coefficient r |p| / (|r| + eps)
        p <- p + b

    with norms of whole parameters; where a norm is 0, the step is learning_rate r.
    `learning_rate` times `trust_coefficient` `()` has no unit: it is the relative change of a
    parameter's norm.

    Args:
      weight_decay_mask: which parameters decay: a tree of booleans, or a function of the
        parameters.
      trust_ratio_mask: which parameters are scaled; the others, often biases and scales of
        normalizations, take a step of plain momentum.
      momentum: decay of b.
      nesterov: whether to take the look-ahead of b as the step, as in `trace`.
      See `scale_by_trust_ratio`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

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
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(0.0, trust_coefficient, eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        _momentum(momentum, nesterov),
    )
