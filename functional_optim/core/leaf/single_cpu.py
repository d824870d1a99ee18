"""Whether a program runs on one CPU device, as the compiler knows when it makes it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["on_one_cpu"]

_on_one_cpu = Primitive("on_one_cpu")


def on_one_cpu() -> jax.Array:
    """Returns True, a constant of the program, where the program is for one device, a CPU.

    Where a program is traced, it is not known yet on what it will run. What depends on it goes
    into the branches of a `cond`, of which the compiler keeps one.
    """
    return _on_one_cpu.bind()


def _here() -> jax.Array:
    return jnp.asarray(jax.device_count() == 1 and jax.default_backend() == "cpu")


def _boolean() -> jax.core.ShapedArray:
    return jax.core.ShapedArray((), np.dtype(np.bool_))


def _lower(ctx: mlir.LoweringRuleContext) -> Any:
    context = ctx.module_context
    # Within a shard_map the context is another, and the answer no.
    alone = getattr(context.axis_context, "num_devices", None) == 1
    return [mlir.ir_constant(np.bool_(alone and tuple(context.platforms) == ("cpu",)))]


_on_one_cpu.def_impl(_here)
_on_one_cpu.def_abstract_eval(_boolean)
mlir.register_lowering(_on_one_cpu, _lower)
