"""A JAX primitive that calls a kernel on some leaves, with its rules of transformation.

Except on a single local CPU device, all of its rules compute the leaves' function by XLA.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..core.engine.executors import XLA, LeafArrays, Result
from ..core.engine.step_scalars import one_row
from .plan import Plan

__all__ = ["Leaf", "call"]

Array = jax.Array
T = TypeVar("T")

# Profiles show this name.
leaf_p = Primitive("functional_optim_leaf")
leaf_p.multiple_results = True


class Leaf(NamedTuple):
    """A leaf of a call: its arrays, its row of the matrix of scalars, and its index in the tree."""

    flat: list[Array]
    row: int
    leaf_index: int


def call(plan: Plan, leaves: Sequence[Leaf], target: str, body: int) -> list[Result]:
    """Runs a plan on some leaves.

    Args:
      plan: the plan that all the leaves have.
      leaves: leaves of one step, so that they have the same shared arguments.
      target: name under which the library is registered with XLA.
      body: index of the function in the library.
    """
    operands = [leaves[0].flat[i] for i in plan.shared]
    operands += [leaf.flat[i] for leaf in leaves for i in plan.per_leaf]
    rows, indices = tuple(x.row for x in leaves), tuple(x.leaf_index for x in leaves)
    outputs = leaf_p.bind(
        *operands, plan=plan, rows=rows, indices=indices, target=target, body=body
    )
    return [plan.results.unflatten(part) for part in _split(outputs, len(plan.dtypes))]


def _split(flat: Sequence[T], size: int) -> list[Sequence[T]]:
    """Splits a list into parts of equal size, one for each leaf."""
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def _by_compiler(
    *operands: Array, plan: Plan, rows: Sequence[int], indices: Sequence[int], **_: object
) -> list[Array]:
    """Computes the same results by XLA."""
    n, results = len(plan.shared), []
    leaves = _split(operands[n:], len(plan.per_leaf))
    for per_leaf, row, index in zip(leaves, rows, indices, strict=True):
        # The operands have the shared arguments first; the leaf's function has them in its order.
        indices_of_operands = (*plan.shared, *plan.per_leaf)
        arguments = dict(zip(indices_of_operands, (*operands[:n], *per_leaf), strict=True))
        arrays: LeafArrays = plan.arrays.unflatten([arguments[i] for i in range(len(arguments))])
        scalars = tuple(
            x if x.row is None else x._replace(row=one_row(x.row, row)) for x in arrays.scalars
        )
        program = XLA.program(plan.function)
        arrays = arrays._replace(scalars=scalars)
        results += jax.tree.leaves(program(arrays, np.int32(index), plan.signature))
    return results


def _result_avals(
    *operands: jax.core.ShapedArray, plan: Plan, **_: object
) -> list[jax.core.ShapedArray]:
    """Returns shapes and dtypes of the results, which have the shape of their leaf's update."""
    # The update is the first argument of a leaf.
    updates = operands[len(plan.shared) :: len(plan.per_leaf)]
    return [jax.core.ShapedArray(x.shape, dtype) for x in updates for dtype in plan.dtypes]


def _lower(
    ctx: mlir.LoweringRuleContext,
    *operands: Any,
    target: str,
    body: int,
    **parameters: Any,
) -> Any:
    """Lowers to a call of the kernel if the program runs on one local device; else to XLA's."""
    if not _is_local(ctx.module_context):
        return _lower_by_compiler(ctx, *operands, **parameters)
    plan, rows = parameters["plan"], parameters["rows"]
    used, aliases = _kernel_operands(plan, len(rows))
    rule = jax.ffi.ffi_lowering(target, operand_output_aliases=aliases)
    local = ctx.replace(avals_in=[ctx.avals_in[i] for i in used])
    return rule(
        local,
        *(operands[i] for i in used),
        body=np.int64(body),
        shared=np.int64(len(plan.body.shared)),
        rows=np.asarray(rows, np.int64),
        numbers=np.asarray(parameters["indices"], np.int64),
    )


def _kernel_operands(plan: Plan, count: int) -> tuple[list[int], dict[int, int]]:
    """Returns which operands the kernel reads, and which of these it overwrites by which result.

    The function of C++ does not take the arguments that no result depends on.
    """
    first, inputs, outputs = len(plan.body.shared), len(plan.body.operands), len(plan.dtypes)
    used = [plan.shared.index(i) for i in plan.body.shared]
    of_first_leaf = [len(plan.shared) + plan.per_leaf.index(i) for i in plan.body.operands]
    used += [i + k * len(plan.per_leaf) for k in range(count) for i in of_first_leaf]
    aliases = {
        first + k * inputs + i: k * outputs + j for k in range(count) for i, j in plan.body.aliases
    }
    return used, aliases


def _is_local(context: mlir.ModuleContext) -> bool:
    """Tells whether the program is compiled for one local device, and not exported.

    XLA cannot partition the call over devices, and an exported program may run where the library
    is not registered.
    """
    if context.lowering_parameters.for_export:
        return False
    return getattr(context.axis_context, "num_devices", None) == 1


def _jvp(
    primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], **parameters: Any
) -> tuple[list[Array], list[Array]]:
    """Differentiates XLA's computation by the operands whose tangents are not symbolic zeros."""
    varying = [k for k, t in enumerate(tangents) if type(t) is not ad.Zero]

    def function(*values: Array) -> list[Array]:
        operands = list(primals)
        for k, x in zip(varying, values, strict=True):
            operands[k] = x
        return _by_compiler(*operands, **parameters)

    return jax.jvp(function, [primals[k] for k in varying], [tangents[k] for k in varying])


def _batch(
    operands: Sequence[Array], axes: Sequence[int | None], **parameters: Any
) -> tuple[list[Array], list[int]]:
    """Maps XLA's computation over a batch axis."""

    def function(*values: Array) -> list[Array]:
        return _by_compiler(*values, **parameters)

    results = jax.vmap(function, in_axes=tuple(axes))(*operands)
    return results, [0] * len(results)


_lower_by_compiler = mlir.lower_fun(_by_compiler, multiple_results=True)

leaf_p.def_impl(_by_compiler)
leaf_p.def_abstract_eval(_result_avals)
mlir.register_lowering(leaf_p, _lower_by_compiler)
mlir.register_lowering(leaf_p, _lower, platform="cpu")
ad.primitive_jvps[leaf_p] = _jvp
batching.primitive_batchers[leaf_p] = _batch
