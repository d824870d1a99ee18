"""Clipping of updates, by element and by the norm of the whole tree."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.decorators import TreeStats, leaf_rule
from ..core.protocol import PyTree
from ..core.rules.arguments import Bound
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import factor_to, measure_norm, norm_of, rescale_norm

__all__ = ["clip", "clip_by_global_norm"]

Array = jax.Array


@leaf_rule(step_scalars=lambda max_delta: {"min_delta": -max_delta}, row_sparse=True)
def clip(
    g: Array, slots: Slots, p: None, ctx: StepContext, max_delta: Bound
) -> tuple[Array, dict[str, Array]]:
    """Clips every element of the updates to [-max_delta, max_delta].

    `max_delta` `()` is in units of g; infinity clips nothing. The real and the imaginary part of a
    complex element are clipped separately.

    Args:
      max_delta: the largest magnitude of an element, in units of g.

    Raises:
      ValueError: max_delta < 0.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.clip(1.0)
      >>> tx.update({"w": jnp.array([-3.0, 0.5])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([-1. ,  0.5], dtype=float32)}
    """
    del slots, p
    # Bounds of the shape of g, because lax.clamp has no derivative by scalar bounds.
    low, high = (jax.lax.full_like(g, bound) for bound in (ctx.min_delta, max_delta))
    return jax.lax.clamp(low, g, high), {}


def _combine(stats: PyTree, last: Mapping[str, Array], max_norm: Array) -> Mapping[str, Array]:
    norm = norm_of(stats, last)
    factor = jnp.where(jnp.isinf(max_norm), 1.0, factor_to(max_norm, norm))
    return {"global_norm": norm, "clip_factor": factor}


@leaf_rule(
    tree_stats=TreeStats(
        measure=measure_norm,
        rescale=rescale_norm,
        combine=_combine,
        metrics=("global_norm", "clip_factor"),
    ),
    row_sparse=True,
)
def clip_by_global_norm(
    g: Array, slots: Slots, p: None, ctx: StepContext, max_norm: Bound
) -> tuple[Array, dict[str, Array]]:
    """Scales all updates down together so that their Euclidean norm is at most `max_norm`.

    For each leaf of shape `*p`: u = g min(1, max_norm / norm), where norm `()` is over all
    leaves that have a gradient, taken in float32 (or wider) and scaled so that it is finite
    wherever float32 can hold it. `max_norm` `()` is in units of g; infinity measures only, and
    changes nothing.

    The state holds `metrics["global_norm"]`, the norm before clipping, and
    `metrics["clip_factor"]`, 1 if nothing was clipped.

    Args:
      max_norm: the largest norm of all updates together, in units of g.

    Differences: torch's `clip_grad_norm_` divides by norm + 1e-6; here and in optax the
    clipped norm is max_norm. A norm that is NaN or infinite makes the updates NaN or zero,
    as max_norm / norm says; guard with `apply_if_finite`.

    Raises:
      ValueError: max_norm < 0.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.clip_by_global_norm(1.0)
      >>> updates, state = tx.update({"w": jnp.array([3.0, 4.0])}, tx.init({"w": jnp.zeros(2)}))
      >>> updates["w"].tolist(), float(state.metrics["global_norm"])
      ([0.6000000238418579, 0.800000011920929], 5.0)

    Reference: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural
    networks, ICML 2013, Algorithm 1, arXiv:1211.5063.
    """
    del slots, p, max_norm
    return ctx.clip_factor * g, {}
