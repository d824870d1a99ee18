"""DP-SGD: gradient descent with differential privacy."""

from typing import Any

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import renamed
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import StateDtype
from ..core.types import ScalarOrSchedule
from ..transforms.momentum import trace
from ..transforms.privacy import differentially_private_aggregate
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["dpsgd"]

_momentum = renamed(trace, decay="momentum")


@composed
def dpsgd(
    learning_rate: ScalarOrSchedule,
    l2_norm_clip: ScalarOrSchedule,
    noise_multiplier: ScalarOrSchedule,
    seed: Any = None,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,
    *,
    key: Any = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """DP-SGD: `differentially_private_aggregate`, optional momentum, then the learning rate.

    The first axis of the updates is the examples. `learning_rate` `()` is in units of p per unit of
    g.

    Args:
      seed: an integer, or a key of `jax.random.key`; it must be given, as seed or as key.
      See `differentially_private_aggregate`, `sgd` and `scale_by_learning_rate` for the others.

    Example:
      >>> import jax.numpy as jnp
      >>> import functional_optim as fo
      >>> tx, params = fo.contrib.dpsgd(0.5, 1.0, 0.0, seed=0), {"w": jnp.zeros(2)}
      >>> grads = {"w": jnp.array([[3.0, 4.0], [0.0, 0.0]])}
      >>> updates, _ = tx.update(grads, tx.init(params), params)
      >>> print(updates["w"])
      [-0.15 -0.2 ]

    Reference: Abadi et al., Deep learning with differential privacy, CCS 2016, Algorithm 1,
    arXiv:1607.00133.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier, key, seed=seed),
        _momentum(momentum, nesterov, state_dtype=state_dtype),
        scale_by_learning_rate(learning_rate),
    )
