"""Distance over gradients: a step size out of how far a parameter has come."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core.norms import leaf_norm
from ..core.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["scale_by_distance_over_gradients"]

Array = jax.Array


def _slots(p: Array, reps_rel: Any) -> dict[str, Array]:
    start = reps_rel * (1 + leaf_norm(p))
    return {"max_dist": start, "grad_sum_of_squares": jnp.zeros_like(start), "init_params": p}


@leaf_rule(
    slots=_slots,
    requires=("params",),
    initial=("reps_rel",),
    slot_dtypes={"param_dtype": "init_params"},
    parts=False,
    bounds={"reps_rel": "[0, inf)", "eps": "[0, inf)"},
)
def scale_by_distance_over_gradients(
    g: Array,
    slots: Any,
    p: Array,
    now: Any,
    reps_rel: float = 1e-6,
    eps: Hyperparameter = 1e-8,
    param_dtype: Any = jnp.float32,
    global_scale: Hyperparameter = 1.0,
) -> tuple[Array, dict[str, Array]]:
    """Scales the updates of each parameter by how far it has come over how long they were.

    For one parameter of shape `*p`, which started at p0, with norms `()` of whole arrays:

        max_dist            <- max(max_dist, |p - p0|),    reps_rel (1 + |p0|) at the start
        grad_sum_of_squares <- grad_sum_of_squares + |g|^2
        u = global_scale max_dist / sqrt(grad_sum_of_squares + eps) g

    The state keeps both and p0, as `init_params`. `reps_rel` and `global_scale` `()` have no
    unit; `eps` `()` is in units of g^2; u is in units of p. Evaluate at an average of the
    parameters, as the authors do.

    Args:
      param_dtype: dtype in which p0 is kept.

    Raises:
      ValueError: reps_rel or eps negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_distance_over_gradients(1e-2, 0.0), {"w": jnp.array([3.0, 4.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, 5.0])}, tx.init(params), params)
      >>> print(updates["w"])
      [0.   0.06]

    Reference: Ivgi, Hinder & Carmon, DoG is SGD's best friend, ICML 2023, section 3.4 (L-DoG),
    arXiv:2302.12022.
    """
    del now, reps_rel, param_dtype
    moved = leaf_norm(p - slots.init_params)
    max_dist = jnp.maximum(jnp.real(slots.max_dist), moved)
    total = jnp.real(slots.grad_sum_of_squares) + jnp.square(leaf_norm(g))
    step = global_scale * max_dist / safe_sqrt(total + eps)
    kept = {"max_dist": max_dist, "grad_sum_of_squares": total, "init_params": slots.init_params}
    return g * step.astype(g.dtype), kept
