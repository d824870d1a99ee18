"""The call of a kernel on some leaves as an operation of JAX, which every transformation knows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..core.engine.executors import XLA
from ..core.engine.step_scalars import one_row
from .plan import Plan

__all__ = ["Leaf", "call"]

Array = jax.Array

# Named by what a profile shows.
leaf_p = Primitive("functional_optim_leaf")
leaf_p.multiple_results = True


class Leaf(NamedTuple):
    """A leaf of a call: its arrays, its row of the scalars, its number in the tree."""

    flat: list[Any]
    row: int
    number: int


def call(plan: Plan, leaves: Sequence[Leaf], target: str, body: int) -> list[Any]:
    """Runs a plan on some leaves.

    Args:
      plan: of their kind.
      leaves: of one step, so that what they share is the same.
      target: name under which XLA knows the library.
      body: number of the function in the library.
    """
    operands = [leaves[0].flat[i] for i in plan.shared]
    operands += [leaf.flat[i] for leaf in leaves for i in plan.own]
    rows, numbers = tuple(x.row for x in leaves), tuple(x.number for x in leaves)
    made = leaf_p.bind(*operands, plan=plan, rows=rows, numbers=numbers, target=target, body=body)
    return [plan.results.unflatten(part) for part in _parts(made, len(plan.dtypes))]


def _parts(flat: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def _by_compiler(
    *operands: Any, plan: Plan, rows: Sequence[int], numbers: Sequence[int], **_: Any
) -> list[Array]:
    """Computes the same results by XLA."""
    n, found = len(plan.shared), []
    for own, row, number in zip(_parts(operands[n:], len(plan.own)), rows, numbers, strict=True):
        at = dict(zip((*plan.shared, *plan.own), (*operands[:n], *own), strict=True))
        arrays = plan.arrays.unflatten([at[i] for i in range(len(at))])
        scalars = tuple(
            x if x.row is None else x._replace(row=one_row(x.row, row)) for x in arrays.scalars
        )
        program = XLA.program(plan.fused)
        arrays = arrays._replace(scalars=scalars)
        found += jax.tree.leaves(program(arrays, np.int32(number), plan.signature))
    return found


def _avals(*operands: Any, plan: Plan, **_: Any) -> list[Any]:
    updates = operands[len(plan.shared) :: len(plan.own)]
    return [jax.core.ShapedArray(x.shape, dtype) for x in updates for dtype in plan.dtypes]


def _lower(ctx: Any, *operands: Any, target: str, body: int, **parameters: Any) -> Any:
    """Lowers to the kernel's call, where one process runs the program on one local device."""
    if not _is_local(ctx.module_context):
        return _lower_by_compiler(ctx, *operands, **parameters)
    plan, rows = parameters["plan"], parameters["rows"]
    used, aliases = _used(plan, len(rows))
    rule = jax.ffi.ffi_lowering(target, operand_output_aliases=aliases)
    local = ctx.replace(avals_in=[ctx.avals_in[i] for i in used])
    return rule(
        local,
        *(operands[i] for i in used),
        body=np.int64(body),
        shared=np.int64(len(plan.body.shared)),
        rows=np.asarray(rows, np.int64),
        numbers=np.asarray(parameters["numbers"], np.int64),
    )


def _used(plan: Plan, count: int) -> tuple[list[int], dict[int, int]]:
    """Returns the kernel's operands, and which of them become which results."""
    first, given, made = len(plan.body.shared), len(plan.body.operands), len(plan.dtypes)
    used = [plan.shared.index(i) for i in plan.body.shared]
    own = [len(plan.shared) + plan.own.index(i) for i in plan.body.operands]
    used += [i + k * len(plan.own) for k in range(count) for i in own]
    aliases = {
        first + k * given + i: k * made + j for k in range(count) for i, j in plan.body.aliases
    }
    return used, aliases


def _is_local(context: Any) -> bool:
    """Tells whether the program is for one local device, and runs now.

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
