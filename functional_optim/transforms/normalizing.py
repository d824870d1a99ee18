"""Transformations that remove the mean of updates, or their length."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.protocol import Hyperparameter, PyTree
from ..core.rules.arguments import NonNegative
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import measure_norm, norm_of, rescale_norm

__all__ = ["centralize", "normalize_by_update_norm"]

Array = jax.Array


@leaf_rule()
def centralize(g: Array, slots: Slots, p: None, ctx: StepContext) -> tuple[Array, dict[str, Array]]:
    """Subtracts the mean from the updates of each output unit.

    For one parameter of shape `(..., inputs, outputs)`: the mean is over all axes but the
    last, JAX's axis of outputs. Vectors and scalars do not change.

    Differences: optax takes the mean over all axes but the first.

    Example:
      >>> import functional_optim as fo
      >>> tx, grads = fo.centralize(), {"w": jnp.array([[1.0, 5.0], [3.0, 5.0]])}
      >>> print(tx.update(grads, tx.init(grads))[0]["w"])
      [[-1.  0.]
       [ 1.  0.]]

    Reference: Yong et al., Gradient Centralization: a new optimization technique for deep
    neural networks, ECCV 2020, equation 1, arXiv:2004.01461.
    """
    del slots, p, ctx
    if g.ndim < 2:
        return g, {}
    mean = jnp.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True)
    return g - jnp.broadcast_to(mean, g.shape), {}


def _combine(
    stats: PyTree, last: Mapping[str, Array], scale_factor: Array, eps: Array
) -> Mapping[str, Array]:
    norm = norm_of(stats, last)
    return {"update_norm": norm, "factor": scale_factor / (norm + eps)}


@leaf_rule(
    tree_stats=TreeStats(
        measure=measure_norm,
        rescale=rescale_norm,
        combine=_combine,
        metrics=("update_norm", "factor"),
    ),
    row_sparse=True,
)
def normalize_by_update_norm(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    scale_factor: Hyperparameter = 1.0,
    eps: NonNegative = 1e-6,
) -> tuple[Array, dict[str, Array]]:
    """Scales all updates together to the Euclidean norm `scale_factor`.

    For each leaf of shape `*p`: u = g scale_factor / (norm + eps), where norm `()` is over all
    leaves that have a gradient. `eps` `()` is in units of g, `scale_factor` `()` in units of u.

    The state holds `metrics["update_norm"]`, the norm before scaling, and `metrics["factor"]`.

    Args:
      scale_factor: norm of the result, in units of u.
      eps: added to the norm; in units of g.

    Raises:
      ValueError: eps < 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.normalize_by_update_norm(eps=0.0)
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    del slots, p, scale_factor, eps
    return ctx.factor * g, {}
