"""AdaBound: Adam whose element-wise learning rates are clipped to bounds that converge to SGD's."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import bias_correction, bias_root, moment
from ..core.numerics.precision import TINY, safe_sqrt
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, Positive, StateDtype, Static
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["adabound", "scale_by_adabound"]

Array = jax.Array


def _slots(p: Array, amsbound: bool) -> dict[str, Array]:
    names = ("mu", "nu", "nu_max") if amsbound else ("mu", "nu")
    return {k: jnp.zeros_like(p) for k in names}


def _step_scalars(
    t: Array,
    learning_rate: Array,
    b1: Array,
    b2: Array,
    final_learning_rate: Array,
    gamma: Array,
) -> dict[str, Array]:
    """Computes Adam's rate with its bias corrections, and the bounds, for update number t."""
    return {
        "mu_gain": 1 - b1,
        "nu_gain": 1 - b2,
        "rate": learning_rate * bias_root(b2, t) * bias_correction(b1, t),
        "lower": final_learning_rate * (1 - 1 / (gamma * t + 1)),
        "upper": final_learning_rate * (1 + 1 / (gamma * t)),
        # The divisor is 0 where v and eps are 0; a floor makes the rate the upper bound there.
        "floor": jnp.asarray(TINY),
    }


@leaf_rule(slots=_slots, step_scalars=_step_scalars)
def scale_by_adabound(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    final_learning_rate: NonNegative = 0.1,
    gamma: Positive = 1e-3,
    *,
    amsbound: Static[bool] = False,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Multiplies a running mean of updates by Adam's rates, clipped to bounds that converge.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        a  = learning_rate sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + eps), clipped to [low, high]
        low  = final_learning_rate (1 - 1 / (gamma t + 1))
        high = final_learning_rate (1 + 1 / (gamma t))
        u  = a m

    It begins as Adam and ends as SGD with a momentum of b1. The state keeps m as `mu` and v as
    `nu`, each of shape `*p`. `b1`, `b2`, `gamma` `()` have no unit; `learning_rate` `()` is in
    units of p, `eps` `()` in units of g, and `final_learning_rate` `()` in units of p per unit of
    g; u is in units of p.

    Args:
      learning_rate: the learning rate of Adam, with which a run begins; in units of p.
      b1, b2: decays of m and of v, in [0, 1).
      eps: added to the root; in units of g.
      final_learning_rate: the learning rate of SGD, to which the bounds converge; in units of p per
        unit of g.
      gamma: how fast the bounds converge, above 0: they are close after several times 1 / gamma
        updates; 1e-3 in the authors' code.
      amsbound: whether the state has nu_max <- max(nu_max, v), which replaces v in a.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code with a constant learning rate. With a schedule, their
    code multiplies final_learning_rate by learning_rate divided by its first value; pass a schedule
    of final_learning_rate for that. In the paper, a is divided by sqrt(t), and there is no bias
    correction.

    Raises:
      ValueError: b1 or b2 outside [0, 1); learning_rate, eps or final_learning_rate negative; gamma
        <= 0.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_adabound(1e-3, b1=0.5, gamma=1.0), {"w": 0.0}
      >>> print(tx.update({"w": 100.0}, tx.init(params))[0]["w"])  # 50 of the lower bound
      2.5

    Reference: Luo, Xiong, Liu & Sun, Adaptive gradient methods with dynamic bound of learning rate,
    ICLR 2019, Algorithm 2, arXiv:1902.09843.
    """
    del p, learning_rate, final_learning_rate, gamma, state_dtype
    mu = moment(slots.mu, g, b1, ctx.mu_gain)
    nu = moment(slots.nu, jnp.square(g), b2, ctx.nu_gain)
    new_slots = {"mu": mu, "nu": nu}
    if amsbound:
        nu = new_slots["nu_max"] = jnp.maximum(slots.nu_max, nu)
    # Scalars come first: in this order XLA compiles one loop for all leaves of a shape.
    root = jnp.maximum(ctx.floor, eps + safe_sqrt(nu))
    rate = jnp.minimum(ctx.upper, jnp.maximum(ctx.lower, ctx.rate / root))
    return rate * mu, new_slots


@composed
def adabound(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    eps: ScalarOrSchedule = 1e-8,
    final_learning_rate: ScalarOrSchedule = 0.1,
    gamma: ScalarOrSchedule = 1e-3,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    amsbound: bool = False,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """AdaBound: an L2 penalty of weight_decay / 2 |p|^2, `scale_by_adabound`, and a minus sign.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_adabound` and `add_decayed_weights` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.adabound(0.01), {"w": 1.0}
      >>> updates, _ = tx.update({"w": 10.0}, tx.init(params), params)
      >>> print(f"{updates['w']:.4f}")
      -0.0100

    Reference: Luo, Xiong, Liu & Sun, Adaptive gradient methods with dynamic bound of learning rate,
    ICLR 2019, Algorithm 2, arXiv:1902.09843.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_adabound(
            learning_rate,
            b1,
            b2,
            eps,
            final_learning_rate,
            gamma,
            amsbound=amsbound,
            state_dtype=state_dtype,
        ),
        scale(-1.0),
    )
