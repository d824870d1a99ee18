"""Lion: the sign of a mean of momentum and gradient."""

from collections.abc import Mapping
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.protocol import GradientTransformation, Hyperparameter
from ..core.rules.arguments import Decay, Optional_, SlotDtype, StateDtype, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["lion", "scale_by_lion"]

Array = jax.Array
Mode = Literal["hard", "smooth", "refined"]


def _step_scalars(b1: Array, b2: Array) -> dict[str, Array]:
    """Computes the weights of g in the mean x, and in the momentum."""
    return {"mean_gain": 1 - b1, "mu_gain": 1 - b2}


def _check(options: Mapping[str, object]) -> str | None:
    if options["mode"] not in ("hard", "smooth", "refined"):
        return f"mode must be one of 'hard', 'smooth', 'refined', got {options['mode']!r}."
    if options["smooth_beta"] is not None and options["mode"] != "smooth":
        return f"smooth_beta is for mode='smooth', got mode={options['mode']!r}. Leave it out."
    return None


@leaf_rule(slots=lambda p: {"mu": jnp.zeros_like(p)}, step_scalars=_step_scalars, check=_check)
def scale_by_lion(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    mu_dtype: Annotated[DTypeLike | None, SlotDtype("mu")] = None,
    *,
    mode: Static[Mode] = "hard",
    smooth_beta: Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_] = None,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Returns the sign of a mean of the momentum and the update.

    For one parameter of shape `*p`:

        x   = b1 mu + (1 - b1) g
        u   = sign(x), with sign(0) = 0; tanh(smooth_beta x); or min(max(x, -1), 1)
        mu <- b2 mu + (1 - b2) g

    The state keeps mu, of shape `*p`, in units of g. `b1` `()`, `b2` `()` and u have no unit;
    `smooth_beta` `()` is in units of 1 / g.

    Args:
      b1: weight of mu in x, in [0, 1).
      b2: decay of mu, in [0, 1).
      mu_dtype: dtype of mu; the authors use bfloat16.
      mode: the function u of x: `"hard"`, the sign; `"smooth"`, the tanh; `"refined"`, x clipped
        to [-1, 1].
      smooth_beta: factor of x in the tanh; None for 1.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: mode "hard" is as in the authors' code; the other modes are as in optax. A
    complex element has the signs of its real and imaginary parts.

    Raises:
      ValueError: b1 or b2 outside [0, 1); an unknown mode; smooth_beta not positive, or
        passed with a mode that is not "smooth".

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.scale_by_lion()
      >>> params = {"w": jnp.zeros(3)}
      >>> tx.update({"w": jnp.array([3.0, 0.0, -0.2])}, tx.init(params), params)[0]
      {'w': Array([ 1.,  0., -1.], dtype=float32)}

    Reference: Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023,
    Algorithm 2, arXiv:2302.06675.
    """
    del p, mu_dtype, state_dtype
    x = moment(slots.mu, g, b1, ctx.mean_gain)
    if mode == "hard":
        u = jnp.sign(x)
    elif mode == "smooth":
        u = jnp.tanh(x if smooth_beta is None else smooth_beta * x)
    else:
        u = jax.lax.clamp(-1.0, x, 1.0)
    return u, {"mu": moment(slots.mu, g, b2, ctx.mu_gain)}


@composed
def lion(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: MaskOrFn = None,
    *,
    mode: Mode = "hard",
    smooth_beta: ScalarOrSchedule | None = None,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """Lion: `scale_by_lion`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u = -1, 0 or 1 from `scale_by_lion`

    `learning_rate` `()` is in units of p: each element moves by it. The authors use a 3 to 10
    times smaller one than for AdamW, and a 3 to 10 times larger `weight_decay`, in units of 1 / p.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_lion`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.lion(0.1, weight_decay=0.0)
      >>> params = {"w": jnp.array([1.0, -1.0])}
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> fo.apply_updates(params, updates)
      {'w': Array([ 0.9, -0.9], dtype=float32)}

    Reference: Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023,
    Algorithm 2, arXiv:2302.06675.
    """
    return chain(
        scale_by_lion(
            b1, b2, mu_dtype, mode=mode, smooth_beta=smooth_beta, state_dtype=state_dtype
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
