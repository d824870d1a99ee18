"""Master weights for bfloat16 parameters: the state keeps only the lower 16 bits."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..core.decorators import leaf_rule
from ..core.numerics.rounding import as_float32, check_like_init, is_narrow, narrow_slot
from ..core.rules.context import Slots, StepContext

__all__ = ["master_remainder"]

Array = jax.Array

_SIGN, _MAGNITUDE = np.int32(-(2**31)), np.int32(2**31 - 1)
_UPPER = np.int32(-(2**16))


def _slots(p: Array, param_dtype: DTypeLike) -> dict[str, Array]:
    if jnp.dtype(param_dtype) == np.float16:
        raise TypeError(
            "master_remainder: a parameter has dtype float16, whose exponents differ from those "
            "of float32. Use master_weights or kahan_summation, or parameters in bfloat16."
        )
    return {"remainder": narrow_slot(p, param_dtype, np.int16)}


@leaf_rule(
    slots=_slots,
    needs=("params",),
    keep_compute_dtype=True,
    split_complex=False,
    state_dtype=False,
)
def master_remainder(
    g: Array, slots: Slots, p: Array, ctx: StepContext
) -> tuple[Array, dict[str, Array]]:
    """Accumulates updates in float32, kept as bfloat16 parameters and 16 bits in the state.

    For one parameter of shape `*p`:

        master    = p and remainder, joined
        master   <- master + g
        q         = master rounded to the nearest bfloat16, ties away from zero
        remainder = the bits of master minus the bits of q, as integers
        u         = q - p

    so that `apply_updates` makes p = q. The results equal `master_weights` bit for bit, except for
    the rounding of ties, with half the memory: bfloat16 has the exponents of float32, so that the
    difference of the bits fits into int16.

    The state keeps remainder, int16, of shape `*p`, in units of the last place of master. If a
    parameter is changed from outside, the remainder is added to the changed parameter; it is at
    most half a unit of the parameter's last place. Put this at the end of a chain, after the
    learning rate. The updates of parameters in float32 or wider do not change, and the state has no
    array for them.

    Differences: optax has no such transformation. The optimizers of Apex truncate the lower bits
    instead of rounding, so that their parameters are on average half a place too small.

    Raises:
      TypeError: (by `init`) a parameter is of float16.
      ValueError: `update` is called without params, or with parameters in a narrow dtype after
        `init` with parameters in a wide one.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> tx = fo.chain(fo.sgd(1e-3), fo.master_remainder())
      >>> params = {"w": jnp.ones((), jnp.bfloat16)}
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     updates, state = tx.update({"w": jnp.ones((), jnp.bfloat16)}, state, params)
      ...     params = fo.apply_updates(params, updates)
      >>> print(params["w"])
      0.898438

    Reference: Gonzalez Ortiz et al., FlashOptim: Optimizers for memory-efficient training, 2026,
    section 3, arXiv:2602.23349.
    """
    check_like_init("master_remainder", slots.remainder, p, ctx.param_dtype)
    if not is_narrow(ctx.param_dtype):
        return g, {"remainder": slots.remainder}
    wide, (g, p) = g.dtype, as_float32(g, p)
    bits = _bits(_joined(p, slots.remainder) + g)
    upper = (bits + 0x8000) & _UPPER
    q = _floats(upper)
    q = jnp.where(jnp.isnan(_floats(bits)), np.float32(np.nan), q)
    moved = q - p
    # If p + moved rounds to another number than q, the remainder does not fit into int16: drop it.
    arrives = jnp.abs(_bits(p + moved) - upper) < 0x8000
    return moved.astype(wide), {"remainder": jnp.where(arrives, bits - upper, 0).astype(jnp.int16)}


def _joined(p: Array, remainder: Array) -> Array:
    """Combines both halves into a float32 number."""
    bits = _bits(p)
    magnitude = jnp.maximum((bits & _MAGNITUDE) + remainder.astype(jnp.int32), 0)
    return _floats((bits & _SIGN) | magnitude)


def _bits(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.int32)


def _floats(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.float32)
