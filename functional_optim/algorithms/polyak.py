"""Polyak's step size, computed from the difference between the loss and its minimum."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule, renamed
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import NonNegative, Static
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import measure_norm, norm_of, rescale_norm
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["polyak_sgd", "scale_by_polyak"]

Array = jax.Array


def _combine(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    f_min: Array,
    max_learning_rate: Array,
    eps: Array,
    variant: str,
) -> Mapping[str, Array]:
    squared = jnp.square(norm_of(stats, last)) + eps
    gap = last["value"] - f_min
    if variant == "sps+":
        gap = jnp.maximum(gap, 0.0)
    # Both operands of a select are computed, so the divisor must not be 0 in either.
    is_positive = squared > 0
    step = jnp.minimum(gap / jnp.where(is_positive, squared, 1.0), max_learning_rate)
    return {"step_size": jnp.where(is_positive, step, 0.0)}


def _check(options: Mapping[str, object]) -> str | None:
    if options["variant"] in ("sps", "sps+"):
        return None
    return f"variant must be 'sps' or 'sps+', got {options['variant']!r}."


@leaf_rule(
    tree_stats=TreeStats(
        measure=measure_norm, rescale=rescale_norm, combine=_combine, metrics=("step_size",)
    ),
    needs=("value",),
    split_complex=False,
    check=_check,
)
def scale_by_polyak(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    f_min: Hyperparameter = 0.0,
    max_learning_rate: NonNegative = 1.0,
    eps: NonNegative = 0.0,
    variant: Static[str] = "sps",
) -> tuple[Array, dict[str, Array]]:
    """Scales updates by Polyak's step size.

    For each leaf of shape `*p`, with the norm `()` over all leaves that have a gradient:

        u = g min((value - f_min) / (|g|^2 + eps), max_learning_rate)

    `value` `()`, the loss at the parameters, is passed to `update`. `f_min` `()`, the minimum of
    the loss, is in units of the loss, `eps` `()` in units of g^2. If all gradients are 0, u is 0.

    The state has the last step size as `metrics["step_size"]`.

    Args:
      f_min: the minimum of the loss, in its units; 0 for a model that can fit all examples.
      max_learning_rate: the largest step size, in units of p per unit of g.
      eps: added to |g|^2; in units of g^2.
      variant: `"sps"`, or `"sps+"`, which replaces a negative value - f_min by 0.

    Raises:
      ValueError: max_learning_rate or eps negative, an unknown variant, or `update` is called
        without value.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_polyak()
      >>> tx.update({"w": 4.0}, tx.init({"w": 2.0}), value=4.0)[0]
      {'w': Array(1., dtype=float32)}

    Reference: Loizou et al., Stochastic Polyak step-size for SGD, AISTATS 2021, equation 3,
    arXiv:2002.10542; sps+: Garrigos, Gower & Schaipp, Function value learning, 2023,
    arXiv:2307.14528.
    """
    del slots, p, f_min, max_learning_rate, eps, variant
    return ctx.step_size.astype(g.dtype) * g, {}


_scaling = renamed(scale_by_learning_rate, learning_rate="scaling")


@composed
def polyak_sgd(
    max_learning_rate: ScalarOrSchedule = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: ScalarOrSchedule = 0.0,
    eps: ScalarOrSchedule = 0.0,
    variant: str = "sps",
) -> GradientTransformation:
    """Gradient descent with Polyak's step size: a factor, then `scale_by_polyak`.

        p <- p - g min((value - f_min) / (scaling |g|^2), scaling max_learning_rate)

    `scaling` `()` is the c of the paper; `value` `()`, the loss at the parameters, is passed
    to `update`.

    Args:
      scaling: factor of |g|^2 and of the largest step size, the c of the paper.
      See `scale_by_polyak` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.polyak_sgd(), {"w": 2.0}
      >>> updates, _ = tx.update({"w": 4.0}, tx.init(params), params, value=4.0)
      >>> fo.apply_updates(params, updates)
      {'w': Array(1., dtype=float32)}

    Reference: Loizou et al., Stochastic Polyak step-size for SGD, AISTATS 2021,
    arXiv:2002.10542.
    """
    return chain(_scaling(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))
