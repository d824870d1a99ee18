"""Updates without their mean, and without their length."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.norms import measure_norm, norm_of
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["centralize", "normalize_by_update_norm"]

Array = jax.Array


@leaf_rule()
def centralize(g: Array, slots: Any, p: None, now: Any) -> tuple[Array, dict[str, Array]]:
    """Subtracts from the updates of each output unit their mean.

    For one parameter of shape `(..., inputs, outputs)`: the mean is over all axes but the
    last, JAX's axis of outputs; vectors and scalars pass.

    Example:
      >>> import functional_optim as fo
      >>> tx, grads = fo.centralize(), {"w": jnp.array([[1.0, 5.0], [3.0, 5.0]])}
      >>> print(tx.update(grads, tx.init(grads))[0]["w"])
      [[-1.  0.]
       [ 1.  0.]]

    Reference: Yong et al., Gradient Centralization: a new optimization technique for deep
    neural networks, ECCV 2020, equation 1, arXiv:2004.01461.
    """
    del slots, p, now
    if g.ndim < 2:
        return g, {}
    mean = jnp.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True)
    return g - jnp.broadcast_to(mean, g.shape), {}


def _combine(
    stats: Any, last: Mapping[str, Array], scale_factor: Array, eps: Array
) -> Mapping[str, Array]:
    del last
    norm = norm_of(stats)
    return {"update_norm": norm, "factor": scale_factor / (norm + eps)}


@leaf_rule(
    measure=measure_norm,
    combine=_combine,
    metrics=("update_norm", "factor"),
    bounds={"eps": "[0, inf)"},
    rows=True,
)
def normalize_by_update_norm(
    g: Array,
    slots: Any,
    p: None,
    now: Any,
    scale_factor: Hyperparameter = 1.0,
    eps: Hyperparameter = 1e-6,
) -> tuple[Array, dict[str, Array]]:
    """Scales all updates together to the Euclidean norm `scale_factor`.

    For each leaf of shape `*p`: u = g scale_factor / (norm + eps), where norm `()` is over all
    leaves that have a gradient. `eps` `()` is in units of g, `scale_factor` `()` in units of u.

    The state holds what was measured: `metrics["update_norm"]`, before scaling.

    Raises:
      ValueError: eps < 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.normalize_by_update_norm(eps=0.0)
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    del slots, p, scale_factor, eps
    return g * now.factor, {}
