"""The call of a kernel as an operation of JAX, which every transformation knows."""

from typing import Any

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .plan import Plan

__all__ = ["call"]

Array = jax.Array

# Named by what a profile shows.
leaf_p = Primitive("functional_optim_leaf")
leaf_p.multiple_results = True


def call(plan: Plan, flat: list[Any], row: int, number: int, target: str, body: int) -> Any:
    """What a plan makes of a leaf.

    Args:
      plan: of its kind of leaves.
      flat: the arrays that are read there.
      row: of the leaf, among the clocks' scalars.
      number: the leaf's place in the tree.
      target: name under which XLA knows the library.
      body: number of the function in the library.
    """
    made = leaf_p.bind(*flat, plan=plan, row=row, number=number, target=target, body=body)
    return jax.tree.unflatten(plan.results, made)


def _by_compiler(*flat: Any, plan: Plan, row: int, number: int, **_: Any) -> list[Array]:
    """The same results, by XLA."""
    arrays = jax.tree.unflatten(plan.arrays, flat)
    return jax.tree.leaves(plan.rules.alone(arrays, plan.form, row, number))


def _avals(update: Any, *_: Any, plan: Plan, **__: Any) -> list[Any]:
    return [jax.core.ShapedArray(update.shape, dtype) for dtype in plan.dtypes]


def _lower(
    ctx: Any, *operands: Any, plan: Plan, row: int, number: int, target: str, body: int
) -> Any:
    """The kernel's call, where one process runs the program on one device of its own."""
    parameters = {"plan": plan, "row": row, "number": number}
    if not _is_local(ctx.module_context):
        return _lower_by_compiler(ctx, *operands, **parameters)
    used = plan.body.operands
    rule = jax.ffi.ffi_lowering(target, operand_output_aliases=dict(plan.body.aliases))
    local = ctx.replace(avals_in=[ctx.avals_in[i] for i in used])
    attributes = {"body": body, "row": row, "leaf": number}
    numbers = {name: np.int64(value) for name, value in attributes.items()}
    return rule(local, *(operands[i] for i in used), **numbers)


def _is_local(context: Any) -> bool:
    """Whether the program is for here and now, and for one device.

    XLA cannot split a call among devices, and an exported program knows no library.
    """
    if context.lowering_parameters.for_export:
        return False
    return getattr(context.axis_context, "num_devices", None) == 1


def _jvp(primals: Any, tangents: Any, **parameters: Any) -> Any:
    moving = [k for k, t in enumerate(tangents) if type(t) is not ad.Zero]

    def of_moving(*some: Any) -> list[Array]:
        full = list(primals)
        for k, x in zip(moving, some, strict=True):
            full[k] = x
        return _by_compiler(*full, **parameters)

    return jax.jvp(of_moving, [primals[k] for k in moving], [tangents[k] for k in moving])


def _batch(arrays: Any, axes: Any, **parameters: Any) -> Any:
    def one(*flat: Any) -> list[Array]:
        return _by_compiler(*flat, **parameters)

    made = jax.vmap(one, in_axes=tuple(axes))(*arrays)
    return made, [0] * len(made)


_lower_by_compiler = mlir.lower_fun(_by_compiler, multiple_results=True)

leaf_p.def_impl(_by_compiler)
leaf_p.def_abstract_eval(_avals)
mlir.register_lowering(leaf_p, _lower_by_compiler)
mlir.register_lowering(leaf_p, _lower, platform="cpu")
ad.primitive_jvps[leaf_p] = _jvp
batching.primitive_batchers[leaf_p] = _batch
