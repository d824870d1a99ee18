"""Hyperball: steps that keep the initial norm of each parameter."""

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.rules.arguments import NonNegative, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..transforms.norm_constraint import Axis, Radius, radius_slot, scaled_to

__all__ = ["hyperball"]

Array = jax.Array


@leaf_rule(
    slots=lambda p, radius, axis: radius_slot("hyperball", p, radius, axis),
    needs=("params",),
    split_complex=False,
    keep_compute_dtype=True,
)
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
    """Steps by a share of the parameter's norm, and projects the result back to that norm.

    For one parameter of shape `*p`, with r its radius, and N(x) = r x / |x|, where |x| is the
    Euclidean norm of the whole array, and N(0) = 0:

        u = N(p - learning_rate N(g)) - p

    It replaces the learning rate and weight decay: `chain(scale_by_adam(), hyperball(0.01))`. The
    size of a step depends only on the direction of g; the learning rate is about the angle, in
    radians, by which the parameter turns. Without `radius`, the state keeps r as `radius`, `()`, in
    units of p. Then a parameter that is 0 at `init` has radius 0, and stays 0: exclude biases with
    `masked`, and use another optimizer for them. `learning_rate` `()` has no unit.

    Args:
      learning_rate: length of the step before the projection, as a share of the radius.
      radius: radius of all parameters; None for the norm of each parameter at `init`.
      axis: axes of the norms, such as `(-2, -1)` for stacked matrices; None for all axes.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code, where radius must be passed.

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
