"""Kahan summation: keeps the rounding errors of low-precision parameters, and adds them later."""

import jax

from ..core.decorators import leaf_rule
from ..core.numerics.rounding import as_float32, check_like_init, is_narrow, narrow_slot, rounded
from ..core.rules.arguments import StateDtype
from ..core.rules.context import Slots, StepContext

__all__ = ["kahan_summation"]

Array = jax.Array


@leaf_rule(
    slots=lambda p, param_dtype: {"compensation": narrow_slot(p, param_dtype, param_dtype)},
    needs=("params",),
    keep_compute_dtype=True,
    split_complex=False,
)
def kahan_summation(
    g: Array, slots: Slots, p: Array, ctx: StepContext, *, state_dtype: StateDtype = None
) -> tuple[Array, dict[str, Array]]:
    """Adds updates to parameters of a narrow dtype, and the rounding errors at the next step.

    For one parameter of shape `*p`:

        c <- c + g
        q  = p + c, rounded to the dtype of p
        c <- c - (q - p), rounded to the dtype of p
        u  = q - p

    so that `apply_updates` makes p = q: small steps gather in c until p moves. The sum p + c has
    about twice the digits of p, so it is nearly as exact as `master_weights`, with half the memory;
    `master_remainder` is exact, for bfloat16. In float16, c underflows where p is below about 1e-4.

    The state keeps c as compensation, of shape `*p`, in units and in the dtype of p. Put this at
    the end of a chain, after the learning rate. The updates of parameters in float32 or wider do
    not change, and the state has no array for them.

    Args:
      state_dtype: dtype of c; None for the dtype of p.

    Differences: optax has no such transformation; optimi, whose optimizers have it, also rounds g.

    Raises:
      ValueError: `update` is called without params, or with parameters in a narrow dtype after
        `init` with parameters in a wide one.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.chain(fo.sgd(1e-3), fo.kahan_summation())
      >>> params = {"w": jnp.ones((), jnp.bfloat16)}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     updates, state = tx.update({"w": jnp.ones((), jnp.bfloat16)}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> print(params["w"])
      0.898438

    Reference: Kahan, Further remarks on reducing truncation errors, CACM 8, 1965; Zamirai et al.,
    Revisiting bfloat16 training, 2020, section 3, arXiv:2010.06192.
    """
    del state_dtype
    check_like_init("kahan_summation", slots.compensation, p, ctx.param_dtype)
    if not is_narrow(ctx.param_dtype):
        return g, {"compensation": slots.compensation}
    wide, (c, g, p) = g.dtype, as_float32(slots.compensation, g, p)
    unrounded = c + g
    moved = rounded(p + unrounded, ctx.param_dtype) - p
    return moved.astype(wide), {"compensation": unrounded - moved}
