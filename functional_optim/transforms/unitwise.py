"""Bounding updates by their parameters, unit by unit."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.decorators import leaf_rule
from ..core.numerics.precision import safe_sqrt
from ..core.rules.arguments import Bound, NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import factor_to
from .norm_constraint import check_axes

__all__ = ["adaptive_grad_clip", "unitwise_clip", "unitwise_norm"]

Array = jax.Array
Axis = int | tuple[int, ...] | None

_AXES = {2: (0,), 3: (0,), 4: (0, 1, 2), 5: (0, 1, 2, 3)}
"""Rank -> axes of one unit: `(in, out)`, `(in, heads, out)`, and kernels of convolutions."""


def unitwise_norm(x: ArrayLike, axis: Axis = None) -> Array:
    """Returns for each element the Euclidean norm of the unit that it belongs to.

    Args:
      axis: axes of one unit; None for the default of `adaptive_grad_clip`.

    Raises:
      ValueError: more than five axes, without axis.

    Example:
      >>> unitwise_norm(jnp.array([[3.0, 1.0], [4.0, 0.0]]))
      Array([[5., 1.],
             [5., 1.]], dtype=float32)
    """
    x = jnp.asarray(x)
    return jnp.broadcast_to(_unit_norm(x, _unit_axes("unitwise_norm", x, axis)), x.shape)


def unitwise_clip(
    g_norm: ArrayLike, max_norm: ArrayLike, grad: ArrayLike, div_eps: ArrayLike = 1e-6
) -> Array:
    """Scales the elements of a gradient down where the norm of their unit is above a bound.

    For each element: grad where g_norm < max_norm, else grad max_norm / max(g_norm, div_eps).

    Args:
      g_norm: for each element, the norm of its unit; see `unitwise_norm`.
      max_norm: for each element, the largest norm of its unit.
      grad: array of the same shape as these.
      div_eps: `()`, the smallest number to divide by.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> g = jnp.array([3.0, 4.0])
      >>> print(unitwise_clip(unitwise_norm(g), jnp.ones(2), g))
      [0.6 0.8]
    """
    g_norm, max_norm, grad = (jnp.asarray(x) for x in (g_norm, max_norm, grad))
    if not g_norm.shape == max_norm.shape == grad.shape:
        raise ValueError(
            f"unitwise_clip: g_norm, max_norm and grad must have one shape, got {g_norm.shape}, "
            f"{max_norm.shape} and {grad.shape}. Broadcast the norms to the gradient's."
        )
    return jnp.where(g_norm < max_norm, grad, grad * (max_norm / jnp.maximum(g_norm, div_eps)))


def _unit_axes(caller: str, x: Array, axis: Axis) -> Axis:
    """Returns the axes over which one unit extends."""
    if axis is not None:
        check_axes(caller, x.shape, axis)
        return axis
    if sum(n > 1 for n in x.shape) <= 1:
        return None
    if x.ndim not in _AXES:
        raise ValueError(
            f"{caller}: a parameter of shape {x.shape} has no default axes. Pass axis."
        )
    return _AXES[x.ndim]


def _unit_norm(x: Array, axis: Axis) -> Array:
    return safe_sqrt(jnp.sum(jnp.square(jnp.abs(x)), axis=axis, keepdims=True))


@leaf_rule(needs=("params",), split_complex=False)
def adaptive_grad_clip(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    clipping: Bound,
    eps: NonNegative = 1e-3,
    axis: Static[Axis] = None,
) -> tuple[Array, dict[str, Array]]:
    """Scales the updates of each unit down to at most `clipping` times the unit's norm.

    For one parameter of shape `*p`, with norms over the axes of one unit:

        u = g min(1, clipping max(|p|, eps) / |g|)

    `clipping` `()` is in units of g / p, and infinity clips nothing; with `eps` `()`, in units of
    p, parameters that start at 0 can move. The authors do not clip a network's last layer; exclude
    it with `masked`.

    Args:
      clipping: the largest ratio of the norm of a unit's update to the norm of the unit; 0.01 in
        the paper.
      eps: the least norm of a unit, in units of p.
      axis: axes of one unit, whose norm is taken. None for the axes in JAX's layers: all axes of a
        scalar or vector, axis 0 of `(in, out)` and `(in, heads, out)`, all but the last axis of
        kernels `HWIO` and `DHWIO`.

    Raises:
      ValueError: clipping or eps negative, a parameter of more than five axes without axis, or
        `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.adaptive_grad_clip(0.5, axis=0), {"w": jnp.ones((1, 2))}
      >>> tx.update({"w": jnp.array([[2.0, 0.25]])}, tx.init(params), params)[0]
      {'w': Array([[0.5 , 0.25]], dtype=float32)}

    Reference: Brock et al., High-performance large-scale image recognition without
    normalization, ICML 2021, equation 3, arXiv:2102.06171.
    """
    del slots, ctx
    axes = _unit_axes("adaptive_grad_clip", p, axis)
    bound = clipping * jnp.maximum(eps, _unit_norm(p, axes))
    bound = jnp.where(jnp.isinf(clipping), clipping, bound)  # also where the norm is 0
    factor = factor_to(bound, _unit_norm(g, axes))
    return g * jnp.broadcast_to(factor, g.shape).astype(g.dtype), {}
