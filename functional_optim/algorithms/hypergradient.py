"""Hypergradient descent: gradient descent on the learning rate."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..core.adapter import check_pair
from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import TreeStats, leaf_rule, renamed
from ..core.numerics.validation import as_state
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.incoming import with_incoming
from ..transforms.momentum import trace
from ..transforms.weight_decay import add_decayed_weights
from .adam import scale_by_adam

__all__ = ["adam_hd", "hypergradient", "sgd_hd"]

Array = jax.Array


def _measure(g: Array, slots: Slots, p: None, ctx: StepContext, **_: object) -> Mapping[str, Array]:
    """Measures a leaf's part of minus the derivative of the loss by the last learning rate."""
    del g, p
    return {"slope": jnp.sum(jnp.real(ctx.incoming * jnp.conj(slots.direction)))}


def _combine(
    stats: Mapping[str, Array] | None,
    last: Mapping[str, Array],
    learning_rate: Array,
    hypergrad_lr: Array,
) -> Mapping[str, Array]:
    """Adds the new slope to the sum of changes of the learning rate."""
    slope = as_state(0.0) if stats is None else jnp.sum(stats["slope"])
    gained = last["gained"] + hypergrad_lr * slope
    return {"gained": gained, "adapted_learning_rate": learning_rate + gained}


@leaf_rule(
    slots=lambda p: {"direction": jnp.zeros_like(p)},
    tree_stats=TreeStats(
        measure=_measure,
        combine=_combine,
        start=lambda: {"gained": 0.0},
        metrics=("adapted_learning_rate",),
    ),
    needs_trees=("incoming",),
)
def scale_by_adapted_rate(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    learning_rate: NonNegative,
    hypergrad_lr: NonNegative = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies updates by minus an adapted learning rate; see `hypergradient`."""
    del slots, p, learning_rate, hypergrad_lr, state_dtype
    return -ctx.adapted_learning_rate * g, {"direction": g}


@composed
def hypergradient(
    inner: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    hypergrad_lr: ScalarOrSchedule = 1e-8,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Takes steps along a direction, with a learning rate that is trained by gradient descent.

    With g the gradients of this update, u the direction that `inner` computes from them, `before`
    the direction of the last update (0 at the first), and the inner product over all parameters:

        a <- a + hypergrad_lr <g, before>,    a learning rate that begins as learning_rate
        p <- p - a u

    <g, before> is minus the derivative of the loss by the last learning rate. The state keeps the
    direction, of shape `*p`, in `scale_by_adapted_rate`, and a as the metric
    `adapted_learning_rate`. `learning_rate` `()` is in units of p per unit of u. If it is a
    schedule, the sum of all changes so far is added to the value of the schedule.

    Args:
      inner: a direction, without a learning rate, such as `scale_by_adam()`.
      learning_rate: a at the start; or a schedule, to which the changes are added. In units of p
        per unit of u.
      hypergrad_lr: learning rate of a; in units of learning_rate per unit of g u.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: in the authors' AdamHD, the parameters change the rate one after another, so that
    the first parameters step with only a part of the sum. The paper and their SGDHD use the whole
    sum, as this function does.

    Raises:
      TypeError: inner is not a pair of functions.
      ValueError: learning_rate or hypergrad_lr negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.hypergradient(fo.identity(), 0.25, hypergrad_lr=0.125)
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state)
      ...     print(updates["w"])
      -0.25
      -0.375

    Reference: Baydin et al., Online learning rate adaptation with hypergradient descent, ICLR
    2018, Algorithms 4 to 6, arXiv:1703.04782.
    """
    rate = scale_by_adapted_rate(learning_rate, hypergrad_lr, state_dtype=state_dtype)
    check_pair("hypergradient: inner", inner)
    return with_incoming("hypergradient", inner, rate)


# Renamed, so that errors name the argument of sgd_hd.
_momentum = renamed(trace, decay="momentum")


@composed
def sgd_hd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,
    hypergrad_lr: ScalarOrSchedule = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    dampening: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """SGD-HD: an L2 penalty of weight_decay / 2 |p|^2, then `hypergradient` of (momentum) SGD.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `hypergradient`, `sgd` and `add_decayed_weights` for the others.

    Raises:
      ValueError: an argument is out of its range; nesterov or dampening without momentum.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sgd_hd(0.25, hypergrad_lr=0.125), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      >>> print(fo.metrics(state))
      {'adapted_learning_rate': Array(0.375, dtype=float32)}

    Reference: Baydin et al., Online learning rate adaptation with hypergradient descent, ICLR
    2018, Algorithms 4 and 5, arXiv:1703.04782.
    """
    momentum_sgd = _momentum(momentum, nesterov, dampening=dampening, state_dtype=state_dtype)
    return chain(
        add_decayed_weights(weight_decay, mask),
        hypergradient(momentum_sgd, learning_rate, hypergrad_lr, state_dtype=state_dtype),
    )


@composed
def adam_hd(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    hypergrad_lr: ScalarOrSchedule = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adam-HD: an L2 penalty of weight_decay / 2 |p|^2, then `hypergradient` of `scale_by_adam`.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `hypergradient`, `scale_by_adam` and `add_decayed_weights` for the others.

    Differences: eps is added to sqrt(v / (1 - b2^t)), as in Adam; the authors' code adds it to
    sqrt(v).

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.adam_hd(0.25, hypergrad_lr=0.125), {"w": 0.0}
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": 1.0}, state, params)
      >>> print(f"{updates['w']:.3f}")
      -0.375

    Reference: Baydin et al., Online learning rate adaptation with hypergradient descent, ICLR
    2018, Algorithm 6, arXiv:1703.04782.
    """
    adam = scale_by_adam(b1, b2, eps, state_dtype=state_dtype)
    return chain(
        add_decayed_weights(weight_decay, mask),
        hypergradient(adam, learning_rate, hypergrad_lr, state_dtype=state_dtype),
    )
