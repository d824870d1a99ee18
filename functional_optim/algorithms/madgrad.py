"""MADGRAD: dual averaging with momentum, and a cube root in the denominator."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["madgrad", "scale_by_madgrad"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array]:
    return {"grad_sum_sq": jnp.zeros_like(p), "s": jnp.zeros_like(p), "x0": p}


def _step_scalars(t: Array, learning_rate: Array, momentum: Array, eps: Array) -> dict[str, Array]:
    """Computes the weight of update number t, and the weight of the new point in the step."""
    return {"weight": (learning_rate + eps) * jnp.sqrt(t), "follow": 1 - momentum}


@leaf_rule(slots=_slots, step_scalars=_step_scalars, needs=("params",), keep_compute_dtype=True)
def scale_by_madgrad(
    g: Array,
    slots: Slots,
    p: Array,
    ctx: StepContext,
    learning_rate: NonNegative,
    momentum: Decay = 0.9,
    eps: NonNegative = 1e-6,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Moves parameters towards a point computed from weighted sums of all updates.

    For one parameter of shape `*p` and its update number t = 1, 2, ...:

        w  = (learning_rate + eps) sqrt(t)
        s <- s + w g
        q <- q + w g^2
        z  = x0 - s / (cbrt(q) + eps)
        u  = (1 - momentum) (z - p)

    The state keeps x0, the parameter at `init`, s and q (as `grad_sum_sq`), each of shape `*p`. u
    is the whole step, including the learning rate and the sign: do not put a scale after it.
    `momentum` `()` has no unit; `learning_rate` `()` is in units of p^(3/2) per root of the unit of
    g, and `eps` `()` is added to it and to the cube root.

    Args:
      learning_rate: weight of an update, which is multiplied by sqrt(t).
      momentum: share of the way to z that remains after a step, in [0, 1).
      eps: added to the learning rate and to the cube root.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code and from optax, except that with momentum 0 the authors
    compute x0 instead of storing it. With eps 0, an element without gradients does not move, as in
    the authors' code; in optax it is NaN.

    Raises:
      ValueError: momentum outside [0, 1), learning_rate or eps negative, or `update` is called
        without params.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_madgrad(1.0, momentum=0.5, eps=0.0), {"w": 0.0}
      >>> print(tx.update({"w": 8.0}, tx.init(params), params)[0]["w"])
      -1.0

    Reference: Defazio & Jelassi, Adaptivity without compromise: A momentumized, adaptive, dual
    averaged gradient method for stochastic optimization, JMLR 2022, Algorithm 1, arXiv:2101.11075.
    """
    del learning_rate, momentum, state_dtype
    s = slots.s + ctx.weight * g
    total = slots.grad_sum_sq + ctx.weight * jnp.square(g)
    # Where total is 0, s is 0 as well: the floor avoids 0 / 0 and the infinite derivative at 0.
    root = eps + jax.lax.cbrt(jnp.maximum(total, float(jnp.finfo(g.dtype).tiny)))
    u = ctx.follow * (slots.x0 - p - s / root)
    return u, {"grad_sum_sq": total, "s": s, "x0": slots.x0}


@composed
def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarOrSchedule = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: ScalarOrSchedule = 1e-6,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """MADGRAD: an L2 penalty of weight_decay / 2 |p|^2, then `scale_by_madgrad`.

    MADGRAD needs little weight decay, often none. Learning rates of SGD or Adam do not apply; the
    authors' default is 1e-2.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_madgrad` and `add_decayed_weights` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.madgrad(0.1)
      >>> params = {"w": jnp.array([1.0, -2.0])}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     grads = jax.tree.map(lambda w: 2 * w, params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> bool(jnp.abs(params["w"]).max() < 0.05)
      True

    Reference: Defazio & Jelassi, Adaptivity without compromise: A momentumized, adaptive, dual
    averaged gradient method for stochastic optimization, JMLR 2022, Algorithm 1, arXiv:2101.11075.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_madgrad(learning_rate, momentum, eps, state_dtype=state_dtype),
    )
