"""Hyperball: steps on the sphere on which a parameter began."""

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.rules.arguments import NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..transforms.norm_constraint import Axis, Radius, radius_slot, scaled_to

__all__ = ["hyperball"]

Array = jax.Array


@leaf_rule(slots=radius_slot, needs=("params",), split_complex=False, keep_compute_dtype=True)
def hyperball(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative,
    radius: Radius = None,
    *,
    axis: Static[Axis] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Steps against a direction by a share of the parameter's norm, and back to that norm.

    For one parameter of shape `*p`, with r its radius, and N(x) = r x / |x| by the Euclidean norm
    of the whole array, 0 where x is 0:

        u = N(p - learning_rate N(g)) - p

    It stands in the place of the learning rate and of weight decay: `chain(scale_by_adam(),
    hyperball(0.01))`. The size of a step depends on the direction of g alone, and is the angle by
    which the parameter turns, about. The state keeps r as `radius`, `()`, in units of p, unless it
    is given. A parameter that is 0 at `init` then has radius 0, and stays 0: leave biases out, as
    in `masked`, and give them an optimizer of their own. `learning_rate` `()` has no unit.

    Args:
      radius: of all parameters; None is the norm that each has at `init`.
      axis: axes over which norms are taken, such as `(-2, -1)` for stacked matrices; None is all.

    Differences: none from the authors' code, whose radius is an argument.

    Raises:
      ValueError: learning_rate or radius negative, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.hyperball(0.75), {"w": jnp.array([5.0, 0.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, -0.1])}, tx.init(params), params)
      >>> print(fo.apply_updates(params, updates)["w"].round(4))
      [4. 3.]

    Reference: Wen et al., Fantastic pretraining optimizers and where to find them II: Hyperball
    optimization, 2026, arXiv:2606.16899.
    """
    del ctx, state_dtype
    bound = radius if radius is not None else jnp.real(slots.radius)
    step = learning_rate.astype(g.dtype) * scaled_to(g, bound, axis)
    return scaled_to(p - step, bound, axis) - p, dict.fromkeys(slots._fields, bound)
