"""LAMB: Adam whose updates are scaled to the norms of their parameters."""

from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import renamed
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import StateDtype
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.trust_ratio import scale_by_trust_ratio
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["lamb"]

# Renamed, because lamb passes its `eps` to Adam.
_trust_ratio = renamed(scale_by_trust_ratio, eps="trust_ratio_eps")


@composed
def lamb(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-6,
    eps_root: ScalarOrSchedule = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """LAMB: `scale_by_adam`, decoupled weight decay, `scale_by_trust_ratio`, then a step.

        p <- p - learning_rate r |p| / |r|,    r = u + weight_decay p, u from `scale_by_adam`

    with norms of whole parameters; where a norm is 0, |p| / |r| is replaced by 1. `learning_rate`
    `()` has no unit: it is the relative change of a parameter's norm.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adam`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: the paper applies to |p| a function that may bound it; its experiments use none.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx, params = fo.lamb(0.1), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([1.0, 1.0])}, tx.init(params), params)
      >>> print(jnp.linalg.norm(updates["w"]).round(4))
      0.5

    Reference: You et al., Large batch optimization for deep learning: training BERT in 76
    minutes, ICLR 2020, Algorithm 2, arXiv:1904.00962.
    """
    return chain(
        scale_by_adam(
            b1,
            b2,
            eps,
            eps_root,
            mu_dtype,
            nesterov=nesterov,
            amsgrad=amsgrad,
            momentum_decay=momentum_decay,
            state_dtype=state_dtype,
        ),
        add_decayed_weights(weight_decay, mask),
        _trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )
