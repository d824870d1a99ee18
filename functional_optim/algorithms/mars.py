"""MARS: corrects gradients by the previous gradient, which reduces the variance of their mean."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule, renamed
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.arguments import Decay, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.norms import leaf_norm
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.masking import masked
from ..transforms.matrices import MatrixLeaves, on_matrices, two_axes
from ..transforms.momentum import ema, trace
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam
from .muon import scale_by_shape
from .newton_schulz import orthogonalize
from .sign_sgd import scale_by_sign

__all__ = ["mars", "reduce_variance", "reduce_variance_exactly", "scale_by_mars"]

Array = jax.Array
Base = Literal["adamw", "lion", "shampoo"]


def _corrected(g: Array, before: Array, weight: Array) -> Array:
    """Computes g + weight (g - before), scaled down to a norm of at most 1."""
    c = g + weight * (g - before)
    return c / jnp.maximum(leaf_norm(c), 1.0)


def _step_scalars(b1: Array, gamma: Array) -> dict[str, Array]:
    """Computes the weight of the change of gradients."""
    return {"weight": gamma * b1 / (1 - b1)}


@leaf_rule(slots=lambda p: {"previous": jnp.zeros_like(p)}, step_scalars=_step_scalars)
def reduce_variance(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.95,
    gamma: NonNegative = 0.025,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Adds to updates a multiple of their change since the last update, and bounds their norm.

    For one parameter of shape `*p`, with `before` the g of its last update, 0 at the first:

        c = g + gamma b1 / (1 - b1) (g - before)
        u = c / max(1, |c|)    with the norm over the whole parameter

    The state keeps g as `previous`, of shape `*p`. `b1` and `gamma` `()` have no unit; u and the
    bound 1 are in units of g.
    """
    del p, b1, gamma, state_dtype
    return _corrected(g, slots.previous, ctx.weight), {"previous": g}


@leaf_rule(needs_trees=("previous_grad",), step_scalars=_step_scalars)
def reduce_variance_exactly(
    g: Array, slots: Slots, p: None, ctx: StepContext, b1: Decay = 0.95, gamma: NonNegative = 0.025
) -> tuple[Array, dict[str, Array]]:
    """Computes `reduce_variance` with the gradient of this batch at the previous parameters.

    Pass this gradient to `update` as `previous_grad`, a tree shaped like the parameters.
    """
    del p, b1, gamma
    return _corrected(g, ctx.previous_grad, ctx.weight), {}


@composed
def scale_by_mars(
    b1: ScalarOrSchedule = 0.95,
    b2: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    gamma: ScalarOrSchedule = 0.025,
    *,
    base: Base = "adamw",
    approximate: bool = True,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Computes the direction of an optimizer from gradients with reduced variance.

    For one parameter of shape `*p`:

        c = g + gamma b1 / (1 - b1) (g - before), scaled down to a norm of at most 1
        u = scale_by_adam(c),                        base "adamw"
            sign(m),    m <- b1 m + (1 - b1) c       base "lion"
            orthogonalize(m / (1 - b1))              base "shampoo"

    `before` is the gradient of the last update; with `approximate=False` it is the gradient of this
    batch at the previous parameters, to be passed as `update(..., previous_grad=...)`.

    The state has the slots of the base, and `previous`, the last g, unless `approximate=False`.

    Args:
      b1: decay of m, in [0, 1); the correction grows with it.
      b2: decay of Adam's second moment, for base "adamw".
      eps: `eps` of `scale_by_adam` or of `orthogonalize`, for base "adamw" or "shampoo".
      gamma: weight of the correction; 0 for no correction.
      base: `"adamw"`, `"lion"` or `"shampoo"`, the optimizer that computes u from c.
      approximate: whether `before` is the last gradient, or else the argument `previous_grad`.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the authors' code has matrix products in bfloat16. At the first update `before` is
    0, as in that code; in the paper it is g, so that c = g. An implementation that stores a
    reference to a gradient which the next one overwrites in place has a correction of 0.

    Raises:
      ValueError: b1 or b2 outside [0, 1), eps or gamma negative, or base is unknown.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_mars(b1=0.5, gamma=1.0, base="lion"), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for g in (0.2, 0.02):  # c is 0.2 + (0.2 - 0) = 0.4, then 0.02 + (0.02 - 0.2) = -0.16
      ...     updates, state = tx.update({"w": g}, state)
      >>> print(f"{state.ema.ema['w']:.3f}")
      0.020

    Reference: Yuan et al., MARS: Unleashing the power of variance reduction for training large
    models, ICML 2025, Algorithms 1 to 4, arXiv:2411.10438.
    """
    bases: dict[str, tuple[GradientTransformation, ...]] = {
        "adamw": (scale_by_adam(b1, b2, eps, state_dtype=state_dtype),),
        "lion": (ema(b1, debias=False, state_dtype=state_dtype), scale_by_sign()),
        "shampoo": (
            # The trace is m / (1 - b1), as above; eps is added to its norm.
            trace(b1, state_dtype=state_dtype),
            orthogonalize(eps=eps),
        ),
    }
    check_choice(base, "scale_by_mars: base", tuple(bases))
    return chain(_reduction(b1, gamma, approximate, state_dtype), *bases[base])


def _reduction(
    b1: ScalarOrSchedule, gamma: ScalarOrSchedule, approximate: bool, state_dtype: StateDtype
) -> GradientTransformation:
    """Makes the correction by the last gradient, or by the argument `previous_grad`."""
    if approximate:
        return reduce_variance(b1, gamma, state_dtype=state_dtype)
    return reduce_variance_exactly(b1, gamma)


_adam = renamed(scale_by_adam, b1="adam_b1", b2="adam_b2", eps="adam_eps")
_adam_decay = renamed(add_decayed_weights, weight_decay="adam_weight_decay")
_adam_rate = renamed(scale_by_learning_rate, learning_rate="adam_learning_rate")


@composed
def mars(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.95,
    b2: ScalarOrSchedule = 0.99,
    eps: ScalarOrSchedule = 1e-8,
    gamma: ScalarOrSchedule = 0.025,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    base: Base = "adamw",
    approximate: bool = True,
    weight_dimension_numbers: PyTree | Callable[[PyTree], PyTree] | None = None,
    optimize_1d: bool = False,
    adam_b1: ScalarOrSchedule = 0.9,
    adam_b2: ScalarOrSchedule = 0.95,
    adam_eps: ScalarOrSchedule = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.1,
    adam_learning_rate: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """MARS: `scale_by_mars` for matrices, AdamW of the plain gradients for all other parameters.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_mars`

    With base "shampoo", u is multiplied by sqrt(max(1, outputs / inputs)), as in `muon`.
    `learning_rate` `()` is in units of p; the authors use 3e-3 for AdamW, and about a tenth of it
    for Lion.

    Args:
      mask: matrices that decay: a tree of booleans, or a function that returns one; None for all.
      weight_dimension_numbers: which parameters are matrices, and their axes, as in `muon`; None
        for the parameters with two axes.
      optimize_1d: whether `scale_by_mars` is used for all parameters. With base "shampoo", those
        that are not matrices then have base "adamw".
      adam_b1, adam_b2, adam_eps, adam_weight_decay: arguments of AdamW for the other parameters;
        unused with optimize_1d.
      adam_learning_rate: learning rate of AdamW; None for the learning rate of the matrices.
      See `scale_by_mars`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: see `scale_by_mars`. The authors' learning rate for the other parameters is always
    3e-3.

    Raises:
      ValueError: an argument is out of its range; or adam_learning_rate with optimize_1d.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.mars(0.1)
      >>> params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
      >>> state = tx.init(params)
      >>> jax.tree.map(jnp.shape, state.reduce_variance.previous)
      {'b': MaskedNode(), 'w': (2, 2)}

    Reference: Yuan et al., MARS: Unleashing the power of variance reduction for training large
    models, ICML 2025, Algorithms 1 to 4, arXiv:2411.10438.
    """
    check_choice(base, "mars: base", ("adamw", "lion", "shampoo"))
    if optimize_1d and adam_learning_rate is not None:
        raise ValueError(
            f"mars: adam_learning_rate={adam_learning_rate!r} has no effect with optimize_1d=True, "
            "because AdamW then trains no parameters. Leave one of them out."
        )
    leaves = MatrixLeaves.of(
        two_axes if weight_dimension_numbers is None else weight_dimension_numbers,
        "mars",
        "weight_dimension_numbers",
    )
    matrices, others = leaves.where(matrices=True), leaves.where(matrices=False)

    adam = scale_by_adam(b1, b2, eps, state_dtype=state_dtype)
    bases: dict[str, tuple[GradientTransformation, ...]] = {
        "adamw": (masked(adam, matrices),),
        "lion": (
            masked(ema(b1, debias=False, state_dtype=state_dtype), matrices),
            masked(scale_by_sign(), matrices),
        ),
        "shampoo": (
            masked(trace(b1, state_dtype=state_dtype), matrices),
            on_matrices(orthogonalize(eps=eps), leaves),
            on_matrices(scale_by_shape(), leaves),
        ),
    }
    if optimize_1d:
        others_direction = scale_by_mars(
            b1,
            b2,
            eps,
            gamma,
            base="adamw" if base == "shampoo" else base,
            approximate=approximate,
            state_dtype=state_dtype,
        )
        others_decay = add_decayed_weights(weight_decay)
    else:
        others_direction = _adam(adam_b1, adam_b2, adam_eps, state_dtype=state_dtype)
        others_decay = _adam_decay(adam_weight_decay)
    rates: tuple[GradientTransformation, ...] = (scale_by_learning_rate(learning_rate),)
    if adam_learning_rate is not None:
        rates = (
            masked(scale_by_learning_rate(learning_rate), matrices),
            masked(_adam_rate(adam_learning_rate), others),
        )
    return chain(
        masked(_reduction(b1, gamma, approximate, state_dtype), matrices),
        *bases[base],
        masked(add_decayed_weights(weight_decay, mask), matrices),
        masked(others_direction, others),
        masked(others_decay, others),
        *rates,
    )
