"""CAME: Adafactor with momentum, divided by the deviation of updates from the momentum."""

import jax
import jax.numpy as jnp

from ..core.chain import chain
from ..core.composed import composed
from ..core.decorators import leaf_rule
from ..core.numerics.moments import moment
from ..core.protocol import GradientTransformation
from ..core.rules.arguments import Decay, NonNegative, Positive, StateDtype
from ..core.rules.context import Slots, StepContext
from ..core.trees.norms import leaf_rms
from ..core.trees.placement import zeros_like_mean
from ..core.types import MaskOrFn, ScalarOrSchedule
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import add_decayed_weights

__all__ = ["came", "scale_by_came"]

Array = jax.Array


def _slots(p: Array) -> dict[str, Array | None]:
    if p.ndim < 2 or p.size == 0:
        return {
            "mu": jnp.zeros_like(p),
            "nu": jnp.zeros_like(p),
            **dict.fromkeys(("v_row", "v_col", "r_row", "r_col")),
        }
    means = {"row": zeros_like_mean(p, p.ndim - 1), "col": zeros_like_mean(p, p.ndim - 2)}
    factors = {f"{k}_{axis}": jnp.array(x) for k in "vr" for axis, x in means.items()}
    return {"mu": jnp.zeros_like(p), "nu": None, **factors}


def _update_means(
    square: Array, row: Array, col: Array, b: Array, gain: Array
) -> tuple[Array, Array]:
    """Updates the means of each row, over the last axis, and of each column, over axis -2."""
    new_row = moment(row, jnp.mean(square, axis=-1, keepdims=True), b, gain)
    return new_row, moment(col, jnp.mean(square, axis=-2, keepdims=True), b, gain)


def _divide_by_factored_root(x: Array, row: Array, col: Array) -> Array:
    """Divides by the root of the matrix of rank 1 that has these means.

    It divides by one root after the other, because products of small means may underflow. The
    floor of the divisors avoids a division by 0.
    """
    tiny = float(jnp.finfo(x.dtype).tiny)
    mean = jnp.maximum(jnp.mean(row, axis=-2, keepdims=True), tiny)
    row_factor = jnp.sqrt(mean) / jnp.sqrt(jnp.maximum(row, tiny))
    # Where squares overflow, the quotient of infinite means is NaN; the result is 0 there.
    row_factor = jnp.where(mean == jnp.inf, 0, row_factor)
    return row_factor * x / jnp.sqrt(jnp.maximum(col, tiny))


@leaf_rule(
    slots=_slots,
    step_scalars=lambda b1, b2, b3: {"mu_gain": 1 - b1, "v_gain": 1 - b2, "r_gain": 1 - b3},
)
def scale_by_came(
    g: Array,
    slots: Slots,
    p: None,
    ctx: StepContext,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    eps: NonNegative = 1e-30,
    eps_instability: NonNegative = 1e-16,
    clip_threshold: Positive = 1.0,
    *,
    state_dtype: StateDtype = None,
) -> tuple[Array, dict[str, Array]]:
    """Divides the momentum of Adafactor's updates by the root of their instability.

    For one parameter as a matrix of its last two axes (all others are batch axes), with mean_j the
    mean over each row, mean_i over each column, and F(row, col) = row col / mean_i(row):

        v_row <- b2 v_row + (1 - b2) mean_j(g^2 + eps),    v_col likewise with mean_i
        d      = g / sqrt(F(v_row, v_col)),    scaled down to a root mean square of clip_threshold
        mu    <- b1 mu + (1 - b1) d
        r_row <- b3 r_row + (1 - b3) mean_j((d - mu)^2 + eps_instability),    r_col likewise
        u      = mu / sqrt(F(r_row, r_col))

    A parameter with fewer than two axes has v of the parameter's shape (`nu`), and u = mu. The
    state keeps mu of shape `*p`, and the others as in `scale_by_factored_rms`; slots that a
    parameter does not have are `NoSlot()`. `b1`, `b2`, `b3` and `clip_threshold` `()`, the bound of
    d, have no unit; `eps` `()` is in units of g^2; d, `eps_instability` and u have no unit. There
    are no bias corrections, so the first updates are larger by a factor of 1 / sqrt(1 - b3).

    Args:
      b1: decay of mu, in [0, 1).
      b2: decay of v_row and of v_col, in [0, 1).
      b3: decay of r_row and of r_col, in [0, 1).
      eps: added to g^2; in units of g^2.
      eps_instability: added to (d - mu)^2; without a unit.
      clip_threshold: the largest root mean square of d.
      state_dtype: dtype of all slots, or a dict by slot; None for float32 or wider.

    Differences: none from the authors' code. In the paper, v decays as in Adafactor. Where means
    are 0, which needs eps = 0, u is 0; in that code it is NaN.

    Raises:
      ValueError: b1, b2 or b3 outside [0, 1); eps or eps_instability negative; clip_threshold <= 0.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.scale_by_came(b1=0.5, b3=0.75), {"w": jnp.zeros((2, 3))}
      >>> state = tx.init(params)
      >>> state.r_row["w"].shape, state.r_col["w"].shape, state.nu["w"]
      ((2, 1), (1, 3), NoSlot())
      >>> rank_one = jnp.outer(jnp.array([1.0, -10.0]), jnp.array([3.0, 0.2, 1.0]))
      >>> tx.update({"w": rank_one}, state)[0]["w"].round(3).tolist()
      [[2.0, 2.0, 2.0], [-2.0, -2.0, -2.0]]

    Reference: Luo et al., CAME: Confidence-guided adaptive memory efficient optimization, ACL
    2023, Algorithm 2, arXiv:2307.02047.
    """
    del p, state_dtype
    square = eps + jnp.square(g)
    if g.ndim < 2 or g.size == 0:
        nu = moment(slots.nu, square, b2, ctx.v_gain)
        direction = g / jnp.sqrt(jnp.maximum(nu, float(jnp.finfo(g.dtype).tiny)))
        new_slots = {"nu": nu}
    else:
        v_row, v_col = _update_means(square, slots.v_row, slots.v_col, b2, ctx.v_gain)
        direction = _divide_by_factored_root(g, v_row, v_col)
        new_slots = {"v_row": v_row, "v_col": v_col}
    direction = direction / jnp.maximum(leaf_rms(direction) / clip_threshold, 1.0)
    mu = moment(slots.mu, direction, b1, ctx.mu_gain)
    if "nu" in new_slots:
        return mu, {"mu": mu, **new_slots}
    instability = eps_instability + jnp.square(direction - mu)
    r_row, r_col = _update_means(instability, slots.r_row, slots.r_col, b3, ctx.r_gain)
    return _divide_by_factored_root(mu, r_row, r_col), {
        "mu": mu,
        **new_slots,
        "r_row": r_row,
        "r_col": r_col,
    }


@composed
def came(
    learning_rate: ScalarOrSchedule,
    b1: ScalarOrSchedule = 0.9,
    b2: ScalarOrSchedule = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    eps: ScalarOrSchedule = 1e-30,
    eps_instability: ScalarOrSchedule = 1e-16,
    clip_threshold: ScalarOrSchedule = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: MaskOrFn = None,
    *,
    state_dtype: StateDtype = None,
) -> GradientTransformation:
    """CAME: `scale_by_came`, decoupled weight decay, then a step of minus the learning rate.

        p <- p - learning_rate (u + weight_decay p),    u from `scale_by_came`

    `learning_rate` `()` is in units of p, and lower than for Adam: 2e-4 in the authors'
    examples.

    Args:
      mask: parameters that decay: a tree of booleans, or a function that returns one; None for all.
      See `scale_by_came`, `add_decayed_weights` and `scale_by_learning_rate` for the others.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.came(0.1, b1=0.0), {"w": jnp.ones(2)}
      >>> updates, _ = tx.update({"w": jnp.array([4.0, -1.0])}, tx.init(params), params)
      >>> [f"{u:.4f}" for u in updates["w"]]
      ['-0.1000', '0.1000']

    Reference: Luo et al., CAME: Confidence-guided adaptive memory efficient optimization, ACL
    2023, Algorithm 2, arXiv:2307.02047.
    """
    return chain(
        scale_by_came(b1, b2, b3, eps, eps_instability, clip_threshold, state_dtype=state_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
