"""A condition in a program: whether the program is compiled for a single CPU device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["is_single_cpu"]

_single_cpu = Primitive("is_single_cpu")


def is_single_cpu() -> jax.Array:
    """Returns True where the program is compiled for one device, a CPU; a constant `()`.

    The device is not known yet when a program is traced. So both ways of a computation become
    branches of a `cond` on this value, and the compiler keeps one of them.
    """
    return _single_cpu.bind()


def _without_trace() -> jax.Array:
    # Outside of a trace the default device computes.
    return jnp.asarray(jax.device_count() == 1 and jax.default_backend() == "cpu")


def _shape_and_dtype() -> jax.core.ShapedArray:
    return jax.core.ShapedArray((), np.dtype(np.bool_))


def _lower(ctx: mlir.LoweringRuleContext) -> Any:
    context = ctx.module_context
    # Inside `shard_map` the axis context has no `num_devices`; the answer there is False.
    is_single = getattr(context.axis_context, "num_devices", None) == 1
    # A constant, so that XLA removes the branch that is not taken.
    return [mlir.ir_constant(np.bool_(is_single and tuple(context.platforms) == ("cpu",)))]


_single_cpu.def_impl(_without_trace)
_single_cpu.def_abstract_eval(_shape_and_dtype)
mlir.register_lowering(_single_cpu, _lower)
