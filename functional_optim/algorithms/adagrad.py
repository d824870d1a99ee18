"""Adagrad: gradients divided by the root of the sum of their squares."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.precision import TINY, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import InitOnly, NonNegative, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["adagrad", "scale_by_rss"]

Array = jax.Array


def _slots(p: Array, initial_accumulator_value: Array) -> dict[str, Array]:
    return {"sum_of_squares": jnp.full_like(p, initial_accumulator_value)}


def _step_scalars(t: Array, eps: Array, lr_decay: Array) -> dict[str, Array]:
    """Computes the factor of update number t, and an eps that keeps the denominator from 0."""
    # Where s and eps are 0, g is 0 as well, and 0 / 0 would be NaN.
    return {"factor": 1 / (1 + (t - 1) * lr_decay), "floor": jnp.maximum(eps, TINY)}


@leaf_rule(slots=_slots, step_scalars=_step_scalars, row_sparse=True)
def scale_by_rss(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    initial_accumulator_value: Annotated[float, Within("[0, inf)"), InitOnly] = 0.1,
    eps: NonNegative = 1e-7,
    *,
    eps_in_sqrt: Static[bool] = True,
    lr_decay: NonNegative = 0.0,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides updates by the root of the sum of the squares of all updates so far.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        s <- s + g^2,    s = initial_accumulator_value at the start
        r  = sqrt(s + eps), or sqrt(s) + eps without eps_in_sqrt
        u  = g / (r (1 + (t - 1) lr_decay))

    and u = 0 where r = 0. The state keeps s under `sum_of_squares`, of shape `*p`.
    `initial_accumulator_value` and `eps` `()` are in units of g^2; without eps_in_sqrt, eps is in
    units of g. `lr_decay` `()` and u have no unit.

    Args:
      initial_accumulator_value: s at the start, in units of g^2.
      eps: bounds u where s is small; see eps_in_sqrt for its place and its unit.
      eps_in_sqrt: whether eps is added to s, in units of g^2, or to its root, in units of g.
      lr_decay: decay of u per update; 0 for no decay.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: the paper adds eps (its delta) outside the root, and starts with s = 0. torch does
    the same, with eps 1e-10: `initial_accumulator_value=0.0, eps=1e-10, eps_in_sqrt=False`. With
    eps = 0, a gradient of 0 gives NaN in torch. The defaults are as in optax, which always adds eps
    under the root, and has no lr_decay.

    Raises:
      ValueError: an argument is negative.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_rss(initial_accumulator_value=7.0, eps=0.0)
      >>> tx.update({"w": 3.0}, tx.init({"w": 0.0}))[0]
      {'w': Array(0.75, dtype=float32)}

    Reference: Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization, JMLR 12, 2011, Figure 1 with diagonal matrices.
    """
    del p, initial_accumulator_value, eps, lr_decay, state_dtype
    s = slots.sum_of_squares + jnp.square(g)
    r = safe_sqrt(ctx.floor + s) if eps_in_sqrt else ctx.floor + safe_sqrt(s)
    return ctx.factor * g / r, {"sum_of_squares": s}


@composed
def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: float = 0.1,
    eps: ScalarOrSchedule = 1e-7,
    *,
    eps_in_sqrt: bool = True,
    lr_decay: ScalarOrSchedule = 0.0,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Adagrad: `scale_by_rss`, then a step of minus the learning rate.

        p <- p - learning_rate u,    u from `scale_by_rss`

    `learning_rate` `()` is in units of p. The steps of an element shrink as its squared gradients
    add up: as 1 / sqrt(t), if gradients are constant and initial_accumulator_value and eps are 0.

    Args:
      See `scale_by_rss` and `scale_by_learning_rate`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.adagrad(0.1, initial_accumulator_value=7.0, eps=0.0)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 3.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.925, dtype=float32)}

    Reference: Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization, JMLR 12, 2011.
    """
    return chain(
        scale_by_rss(
            initial_accumulator_value,
            eps,
            eps_in_sqrt=eps_in_sqrt,
            lr_decay=lr_decay,
            state_dtype=state_dtype,
        ),
        scale_by_learning_rate(learning_rate),
    )
