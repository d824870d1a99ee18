"""Parameters in bfloat16 beside which stand the other 16 bits of float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.rounding import check_like_init, is_narrow, narrow_slot
from ..core.rule import leaf_rule

__all__ = ["master_remainder"]

Array = jax.Array

_SIGN, _MAGNITUDE = np.int32(-(2**31)), np.int32(2**31 - 1)
_UPPER = np.int32(-(2**16))


def _slots(p: Array, param_dtype: Any) -> dict[str, Array]:
    if jnp.dtype(param_dtype) == np.float16:
        raise TypeError(
            "master_remainder: a parameter has dtype float16, whose exponents are not those of "
            "float32. Use master_weights or kahan_summation, or parameters in bfloat16."
        )
    return {"remainder": narrow_slot(p, param_dtype, np.int16)}


@leaf_rule(slots=_slots, requires=("params",), exact=True, parts=False)
def master_remainder(g: Array, slots: Any, p: Array, now: Any) -> tuple[Array, dict[str, Array]]:
    """Adds updates up in float32, of which bfloat16 parameters are one half and the state another.

    For one parameter of shape `*p`:

        master    = p and remainder, joined
        master   <- master + g
        q         = master rounded to bfloat16, to what is nearest, and of two away from zero
        remainder = the bits of master minus those of q, as integers
        u         = q - p

    so that `apply_updates` makes p = q. The numbers are those of `master_weights`, to the bit but
    for the rounding in the middle between two numbers, and the memory half: bfloat16 has the
    exponents of float32, and the difference of the bits is one of int16.

    The state keeps remainder, int16, of shape `*p`, in units of the last place of master. Where
    a parameter is changed from outside, the remainder is added to what it is then: less than half
    of its last place. It belongs at the end of a chain, after the learning rate. Parameters of
    float32 and wider pass as they are, and nothing is kept for them.

    Differences: optax has no such link. The optimizers of Apex cut the lower bits off instead of
    rounding, so that their parameters are on average half a place too small.

    Raises:
      TypeError: (by `init`) a parameter is of float16.
      ValueError: `update` is called without params, or with narrow ones where those of `init` were
        not.

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
    check_like_init("master_remainder", slots.remainder, p, now.param_dtype)
    if not is_narrow(now.param_dtype):
        return g, {"remainder": slots.remainder}
    bits = _bits(_joined(p, slots.remainder) + g)
    upper = (bits + 0x8000) & _UPPER
    q = _floats(upper)
    q = jnp.where(jnp.isnan(_floats(bits)), np.float32(np.nan), q)
    moved = q - p
    # A step to what is below the last place of p arrives elsewhere, and has no remainder.
    arrives = jnp.abs(_bits(p + moved) - upper) < 0x8000
    return moved, {"remainder": jnp.where(arrives, bits - upper, 0).astype(jnp.int16)}


def _joined(p: Array, remainder: Array) -> Array:
    """The float32 number of both halves."""
    bits = _bits(p)
    magnitude = jnp.maximum((bits & _MAGNITUDE) + remainder.astype(jnp.int32), 0)
    return _floats((bits & _SIGN) | magnitude)


def _bits(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.int32)


def _floats(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.float32)
