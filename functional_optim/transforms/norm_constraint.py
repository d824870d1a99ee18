"""Constraints that keep the norms of parameters, or bound the norms of updates from below."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import NonNegative, Optional_, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import norm_along
from ..core.trees.placement import sharded_as

__all__ = [
    "Axis",
    "Radius",
    "check_axes",
    "norm_constraint",
    "radius_slot",
    "scaled_to",
    "update_norm_floor",
]

Array = jax.Array
Axis = int | tuple[int, ...] | None
Radius = Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_]


def check_axes(caller: str, shape: tuple[int, ...], axis: Axis) -> None:
    """Raises ValueError if an array of a shape lacks one of the axes."""
    axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    outside = [k for k in axes if not isinstance(k, int) or not -len(shape) <= k < len(shape)]
    if outside:
        raise ValueError(
            f"{caller}: axis={axis!r} does not fit a parameter of shape {shape}, which has no axis "
            f"{outside[0]}. Give parameters of other shapes to another transformation, with "
            "partition."
        )


def radius_slot(caller: str, p: Array, radius: Array | None, axis: Axis) -> dict[str, Array]:
    """Makes the slot with the norm of the parameter; no slot if radius is not None."""
    check_axes(caller, p.shape, axis)
    return {} if radius is not None else {"radius": norm_along(p, axis)}


def scaled_to(x: Array, radius: Array, axis: Axis) -> Array:
    """Scales an array to a norm; zeros stay zeros."""
    return _factor(norm_along(x, axis), radius).astype(x.dtype) * x


def _factor(norm: Array, radius: Array) -> Array:
    """Returns the factor that makes a norm the radius; 0 for a norm of 0."""
    is_positive = norm > 0
    radius = sharded_as(radius, norm)
    return jnp.where(is_positive, radius / jnp.where(is_positive, norm, 1.0), 0.0)


@leaf_rule(
    slots=lambda p, radius, axis: radius_slot("norm_constraint", p, radius, axis),
    needs=("params",),
    split_complex=False,
    keep_compute_dtype=True,
)
def norm_constraint(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    radius: Radius = None,
    *,
    axis: Static[Axis] = None,
    at_most: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Bounds updates so that each parameter keeps its norm.

    For one parameter of shape `*p`, with r the radius, and the Euclidean norm of the whole array:

        q = p + g
        u = r q / |q| - p,    u = g with at_most where |q| <= r

    Put this at the end of a chain, after the learning rate: u follows from the new parameter, and
    is exact in float32 whatever the dtype of p is. Without `radius`, the state keeps r as `radius`,
    `()`, in units of p. A parameter that is 0 at `init` then has radius 0, and stays 0: exclude
    biases with `masked`.

    Args:
      radius: the norm of each parameter; None for the norm that it has at `init`.
      axis: axes over which norms are taken, such as `(-2, -1)` for stacked matrices, or 0 for the
        columns of a matrix. None is all axes.
      at_most: whether norms may be below the radius.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: optax has no such transformation.

    Raises:
      ValueError: radius < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.sgd(1.0), fo.norm_constraint())
      >>> params = {"w": jnp.array([3.0, 0.0])}
      >>> updates, _ = tx.update({"w": jnp.array([0.0, -4.0])}, tx.init(params), params)
      >>> [f"{q:.3f}" for q in fo.apply_updates(params, updates)["w"]]
      ['1.800', '2.400']
    """
    del ctx, state_dtype
    bound = radius if radius is not None else jnp.real(slots.radius)
    new = p + g
    factor = _factor(norm_along(new, axis), bound)
    if at_most:
        factor = jnp.minimum(factor, 1.0)
    # Not factor * new - p, so that the result is exactly g where the factor is 1.
    return g + (factor - 1).astype(g.dtype) * new, dict.fromkeys(slots._fields, bound)


@leaf_rule(needs=("params",), split_complex=False)
def update_norm_floor(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    floor: NonNegative = 0.35,
    *,
    axis: Static[Axis] = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales updates up if their norm is less than a share of their parameter's norm.

    For one parameter of shape `*p`, with Euclidean norms of the whole array:

        u = g max(1, floor |p| / |g|),    0 where g is 0

    Put it after the direction and before the learning rate. `floor` `()` is in units of g per unit
    of p.

    Args:
      floor: the least norm of an update, as a multiple of its parameter's norm.
      axis: axes over which norms are taken: 0 for the columns of a matrix, `(-2, -1)` for stacked
        matrices. None is all axes.

    Raises:
      ValueError: floor < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.update_norm_floor(0.5), {"w": jnp.array([0.0, 20.0])}
      >>> print(tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)[0]["w"])
      [6. 8.]
    """
    del slots, ctx
    check_axes("update_norm_floor", g.shape, axis)
    norm = norm_along(g, axis)
    is_positive = norm > 0
    # The divisor is not 0, so that derivatives are finite as well.
    factor = jnp.maximum(floor * norm_along(p, axis) / jnp.where(is_positive, norm, 1.0), 1.0)
    return factor.astype(g.dtype) * g, {}
