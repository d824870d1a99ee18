"""Stochastic gradient descent, with momentum."""

from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import renamed
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import StateDtype
from ..core.types import ScalarOrSchedule
from ..transforms.momentum import trace
from ..transforms.scaling import scale_by_learning_rate

__all__ = ["sgd"]

_momentum = renamed(trace, decay="momentum")


@composed
def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarOrSchedule | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    dampening: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """SGD: `trace` if `momentum` is not None, then a step of minus the learning rate.

    For one parameter of shape `*p`, with b its trace, 0 at the start:

        b <- momentum b + g
        p <- p - learning_rate b               or (g + momentum b) with nesterov

    `learning_rate` `()` is in units of p per unit of g; `momentum` and `dampening` `()` have
    no unit. Without momentum there is no trace.

    Args:
      momentum: decay of the trace, usually 0.9; None for no trace.
      nesterov: whether the step is g + momentum b, the look-ahead of the trace; needs momentum.
      accumulator_dtype: dtype of the trace.
      dampening: share of a gradient that does not enter the trace, see `trace`.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.
      See `scale_by_learning_rate` for the others.

    Differences: optax has no dampening. torch's SGD does not change the trace while momentum is 0;
    see `rest_at_zero` of `trace`. Sutskever et al. multiply the gradient by the learning rate
    before it enters the trace, which differs where the learning rate changes.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.1, momentum=0.9)
      >>> params = {"w": 1.0}
      >>> updates, _ = tx.update({"w": 2.0}, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array(0.8, dtype=float32)}

    Reference: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and
    momentum in deep learning, ICML 2013, equations 1 to 4.
    """
    return chain(
        _momentum(
            momentum, nesterov, accumulator_dtype, dampening=dampening, state_dtype=state_dtype
        ),
        scale_by_learning_rate(learning_rate),
    )
