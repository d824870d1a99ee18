"""Transformations that read the norm, or the root mean square, of a whole parameter."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.decorators import leaf_rule
from ..core.protocol import Hyperparameter
from ..core.rules.arguments import NonNegative, Within
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import leaf_norm, leaf_rms

__all__ = ["clip_by_block_rms", "scale_by_param_block_norm", "scale_by_param_block_rms"]

Array = jax.Array


@leaf_rule()
def clip_by_block_rms(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    threshold: Annotated[Hyperparameter, Within("(0, inf]")],
) -> tuple[Array, dict[str, Array]]:
    """Scales each leaf of the updates down so that its root mean square is at most `threshold`.

    For one leaf of shape `*p`: u = g / max(1, rms(g) / threshold), where rms(g) is the root of
    the mean of g^2 over the leaf. `threshold` `()` is in units of g; infinity clips nothing. A
    leaf without elements does not change; the real and the imaginary part of a complex leaf are
    clipped separately.

    Args:
      threshold: the largest root mean square of a leaf, above 0; in units of g.

    Raises:
      ValueError: threshold <= 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.clip_by_block_rms(1.0)
      >>> tx.update({"w": jnp.array([2.0, -2.0, 2.0, 2.0])}, tx.init({"w": jnp.zeros(4)}))[0]
      {'w': Array([ 1., -1.,  1.,  1.], dtype=float32)}

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, section 6, arXiv:1804.04235.
    """
    del slots, p, ctx
    return g / jnp.maximum(1.0, leaf_rms(g) / threshold), {}


@leaf_rule(needs=("params",))
def scale_by_param_block_rms(
    g: Array, slots: Slots, p: Array, ctx: StepContext, min_scale: NonNegative = 1e-3
) -> tuple[Array, dict[str, Array]]:
    """Multiplies each leaf of the updates by the root mean square of its parameter.

    For one parameter of shape `*p`: u = max(min_scale, rms(p)) g. `min_scale` `()` is in units
    of p: parameters that start at zero move by it.

    Args:
      min_scale: the least factor, in units of p.

    Raises:
      ValueError: min_scale < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_param_block_rms()
      >>> params = {"w": jnp.full(4, 3.0), "b": jnp.zeros(1)}
      >>> updates, _ = tx.update({"w": jnp.ones(4), "b": jnp.ones(1)}, tx.init(params), params)
      >>> updates["w"].tolist(), round(float(updates["b"][0]), 6)
      ([3.0, 3.0, 3.0, 3.0], 0.001)

    Reference: Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
    ICML 2018, section 8, arXiv:1804.04235.
    """
    del slots, ctx
    return g * jnp.maximum(leaf_rms(p), min_scale), {}


@leaf_rule(needs=("params",))
def scale_by_param_block_norm(
    g: Array, slots: Slots, p: Array, ctx: StepContext, min_scale: NonNegative = 1e-3
) -> tuple[Array, dict[str, Array]]:
    """Multiplies each leaf of the updates by the Euclidean norm of its parameter.

    For one parameter of shape `*p`: u = max(min_scale, |p|) g. `min_scale` `()` is in units
    of p: parameters that start at zero move by it.

    Args:
      min_scale: the least factor, in units of p.

    Raises:
      ValueError: min_scale < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_param_block_norm(), {"w": jnp.array([3.0, -4.0])}
      >>> tx.update({"w": jnp.ones(2)}, tx.init(params), params)[0]
      {'w': Array([5., 5.], dtype=float32)}
    """
    del slots, ctx
    return g * jnp.maximum(leaf_norm(p), min_scale), {}
