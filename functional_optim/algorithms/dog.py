"""Distance over gradients: a step size out of how far a parameter has come."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import InitOnly, NonNegative, SlotDtype, StateDtype, Within
from ..core.trees.norms import leaf_norm

__all__ = ["scale_by_distance_over_gradients"]

Array = jax.Array


def _slots(p: Array, reps_rel: Any) -> dict[str, Array]:
    start = reps_rel * (1 + leaf_norm(p))
    return {"max_dist": start, "grad_sum_of_squares": jnp.zeros_like(start), "init_params": p}


@leaf_rule(slots=_slots, needs=("params",), split_complex=False)
def scale_by_distance_over_gradients(
    g: Array,
    slots: Any,
    p: Array,
    ctx: Any,
    reps_rel: Annotated[float, Within("[0, inf)"), InitOnly] = 1e-6,
    eps: NonNegative = 1e-8,
    param_dtype: Annotated[DTypeLike, SlotDtype("init_params")] = jnp.float32,
    global_scale: Hyperparameter = 1.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales the updates of each parameter by the distance that it has moved over their norm.

    For one parameter of shape `*p` that started at p0, with norms `()` of whole arrays:

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
    del ctx, reps_rel, param_dtype, state_dtype
    # Plain sums of squares: their range limits the accumulated sum anyway.
    moved = safe_sqrt(_sum_of_squares(p - slots.init_params))
    max_dist = jnp.maximum(jnp.real(slots.max_dist), moved)
    total = jnp.real(slots.grad_sum_of_squares) + _sum_of_squares(g)
    step = global_scale * max_dist / safe_sqrt(total + eps)
    kept = {"max_dist": max_dist, "grad_sum_of_squares": total, "init_params": slots.init_params}
    return step.astype(g.dtype) * g, kept


def _sum_of_squares(x: Array) -> Array:
    return jnp.sum(jnp.square(jnp.abs(x)))
