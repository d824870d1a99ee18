"""Updates of norm 1: the directions in which SAM and ASAM climb."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.protocol import PyTree
from ..core.rules.arguments import NonNegative
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import measure_norm, norm_of, rescale_norm

__all__ = ["normalize", "normalize_adaptively"]

Array = jax.Array


def _combine(stats: PyTree, last: Mapping[str, Array], **_: Array) -> Mapping[str, Array]:
    norm = norm_of(stats, last)
    is_positive = norm > 0
    # The factor of a norm that is NaN is NaN, and the factor of a norm of 0 is 0.
    factor = jnp.where(is_positive, 1 / jnp.where(is_positive, norm, 1), norm)
    return {"update_norm": norm, "factor": factor}


@leaf_rule(
    tree_stats=TreeStats(
        measure=measure_norm,
        rescale=rescale_norm,
        combine=_combine,
        metrics=("update_norm", "factor"),
    ),
    row_sparse=True,
)
def normalize(g: Array, slots: Slots, p: None, ctx: StepContext) -> tuple[Array, dict[str, Array]]:
    """Scales all updates together to the Euclidean norm 1; zeros stay zeros.

    For each leaf of shape `*p`: u = g / norm, where norm `()` is over all leaves that have a
    gradient. The state keeps it as `metrics["update_norm"]`.

    Differences: optax divides zeros by 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.normalize()
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    del slots, p
    return ctx.factor * g, {}


def _measure_in_units(
    g: Array, slots: Slots, p: Array, ctx: StepContext, eta: Array
) -> Mapping[str, Array]:
    return measure_norm((jnp.abs(p) + eta).astype(g.dtype) * g, slots, p, ctx)


@leaf_rule(
    tree_stats=TreeStats(
        measure=_measure_in_units,
        rescale=rescale_norm,
        combine=_combine,
        metrics=("update_norm", "factor"),
    ),
    needs=("params",),
    split_complex=False,
)
def normalize_adaptively(
    g: Array, slots: Slots, p: Array, ctx: StepContext, eta: NonNegative = 0.01
) -> tuple[Array, dict[str, Array]]:
    """Scales updates as ASAM does: in units of the parameters, all together to the norm 1.

    For each leaf of shape `*p`, with s = |p| + eta:

        u = s^2 g / norm

    where norm `()` is the norm of s g over all leaves that have a gradient. `eta` `()` and u are in
    units of p. See `sam`.

    Args:
      eta: added to |p|, so that parameters near 0 move; in units of p.

    Raises:
      ValueError: eta < 0, or `update` is called without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.normalize_adaptively(eta=0.0), {"w": jnp.array([1.0, -2.0])}
      >>> tx.update({"w": jnp.array([3.0, 2.0])}, tx.init(params), params)[0]
      {'w': Array([0.6, 1.6], dtype=float32)}

    Reference: Kwon, Kim, Park & Choi, ASAM: adaptive sharpness-aware minimization for
    scale-invariant learning of deep neural networks, ICML 2021, equation 8 and section 4,
    arXiv:2102.11600.
    """
    del slots
    weight = ctx.factor * jnp.square(jnp.abs(p) + eta)
    return weight.astype(g.dtype) * g, {}
