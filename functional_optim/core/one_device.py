"""Whether a program runs on one device, as the compiler knows when it makes it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["on_one_device"]

_on_one_device = Primitive("on_one_device")


def on_one_device() -> jax.Array:
    """True, a constant of the program, where it is for one device, so that no array is divided.

    Where a program is traced, it is not known yet on what it will run. What depends on it goes
    into the branches of a `cond`, of which the compiler keeps one.
    """
    return _on_one_device.bind()


def _alone() -> jax.Array:
    return jnp.asarray(jax.device_count() == 1)


def _boolean() -> jax.core.ShapedArray:
    return jax.core.ShapedArray((), np.dtype(np.bool_))


def _lower(ctx: mlir.LoweringRuleContext) -> Any:
    # Within a shard_map the context is another, and the answer no.
    devices = getattr(ctx.module_context.axis_context, "num_devices", None)
    return [mlir.ir_constant(np.bool_(devices == 1))]


_on_one_device.def_impl(_alone)
_on_one_device.def_abstract_eval(_boolean)
mlir.register_lowering(_on_one_device, _lower)
