"""Updates of norm 1: directions in which SAM and ASAM climb."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..core.norms import measure_norm, norm_of
from ..core.protocol import Hyperparameter
from ..core.rule import leaf_rule

__all__ = ["normalize", "normalize_adaptively"]

Array = jax.Array


def _combine(stats: Any, last: Mapping[str, Array], **_: Any) -> Mapping[str, Array]:
    del last
    norm = norm_of(stats)
    some = norm > 0
    factor = jnp.where(some, 1 / jnp.where(some, norm, 1), norm)
    return {"update_norm": norm, "factor": factor}


@leaf_rule(measure=measure_norm, combine=_combine, metrics=("update_norm", "factor"), rows=True)
def normalize(g: Array, slots: Any, p: None, now: Any) -> tuple[Array, dict[str, Array]]:
    """Scales all updates together to the Euclidean norm 1; zeros stay.

    For each leaf of shape `*p`: u = g / norm, where norm `()` is over all leaves that have a
    gradient; it is kept under `metrics["update_norm"]`.

    Differences: optax divides zeros by 0.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.normalize()
      >>> tx.update({"w": jnp.array([3.0, 4.0])}, tx.init({"w": jnp.zeros(2)}))[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    del slots, p
    return g * now.factor, {}


def _measure_in_units(g: Array, slots: Any, p: Array, now: Any, eta: Array) -> Mapping[str, Array]:
    return measure_norm((jnp.abs(p) + eta).astype(g.dtype) * g, slots, p, now)


@leaf_rule(
    measure=_measure_in_units,
    combine=_combine,
    metrics=("update_norm", "factor"),
    requires=("params",),
    bounds={"eta": "[0, inf)"},
    parts=False,
)
def normalize_adaptively(
    g: Array, slots: Any, p: Array, now: Any, eta: Hyperparameter = 0.01
) -> tuple[Array, dict[str, Array]]:
    """Scales updates as ASAM does: in units of the parameters, all together to the norm 1.

    For each leaf of shape `*p`, with s = |p| + eta:

        u = s^2 g / norm

    where norm `()` is that of s g over all leaves that have a gradient. `eta` `()` is in units of
    p, and so is u per unit of the step that follows. See `sam`.

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
    weight = jnp.square(jnp.abs(p) + eta) * now.factor
    return weight.astype(g.dtype) * g, {}
