"""NAdam, and NAdamW: Adam with Nesterov momentum."""

from jax.typing import DTypeLike

from ..core.composed import composed
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import StateDtype
from ..core.types import MaskOrFn, ScalarOrSchedule
from .adam import adam, adamw

__all__ = ["nadam", "nadamw"]


@composed
def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """NAdam: `scale_by_adam` with nesterov, then a step of minus the learning rate.

    `learning_rate` `()` is in units of p. See `scale_by_adam` for the maths.

    Args:
      See `scale_by_adam` and `scale_by_learning_rate`.

    Differences: the momentum is constant, as in optax. With `momentum_decay=0.004`, the default of
    torch's NAdam, it grows from b1 / 2 to b1, by the schedule of Dozat's paper.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.nadam(0.1, b1=0.5)
      >>> updates, _ = tx.update({"w": 4.0}, tx.init({"w": 0.0}))
      >>> round(float(updates["w"]), 6)
      -0.133333

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop,
    Algorithm 2.
    """
    return adam(
        learning_rate,
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        nesterov=nesterov,
        amsgrad=amsgrad,
        momentum_decay=momentum_decay,
        state_dtype=state_dtype,
    )


@composed
def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    eps_root: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    nesterov: bool = True,
    amsgrad: bool = False,
    momentum_decay: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """NAdamW: `nadam` with decoupled weight decay.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_adam` with nesterov

    `weight_decay` `()` has the unit of u per unit of p, that is 1 / p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adam`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Differences: as for `nadam`; torch's NAdam decays in this way with
    `decoupled_weight_decay=True`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.nadamw(0.1, weight_decay=0.5)
      >>> params = {"w": 4.0}
      >>> fo.apply_updates(params, tx.update({"w": 0.0}, tx.init(params), params)[0])
      {'w': Array(3.8, dtype=float32)}

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop,
    Algorithm 2. Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    arXiv:1711.05101.
    """
    return adamw(
        learning_rate,
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        weight_decay,
        mask,
        nesterov=nesterov,
        amsgrad=amsgrad,
        momentum_decay=momentum_decay,
        state_dtype=state_dtype,
    )
