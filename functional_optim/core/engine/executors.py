"""Stage 3: executors, each of which runs the rules on one kind of leaf."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.typing import DTypeLike

from ..leaf.packing import Group
from ..leaf.quantized import decode_state, encode_like, is_quantized
from ..trees.apply import add_update
from ..trees.sparse_rows import Rows
from ..trees.structure import is_sparse
from .backends import BACKENDS
from .step_scalars import Column, RuleScalars, StepScalars

__all__ = [
    "XLA",
    "Backend",
    "Executor",
    "JitExecutor",
    "LeafArrays",
    "LeafCall",
    "LeafFunction",
    "LeafSignature",
    "Result",
    "choose_executor",
]

Array = jax.Array
Scalars = dict[str, Array]


class LeafArrays(NamedTuple):
    """The arguments of a leaf's function."""

    update: Array
    slots: tuple[Scalars, ...]  # of each rule
    param: Array | None
    scalars: tuple[RuleScalars, ...]  # of each rule


class LeafSignature(NamedTuple):
    """The static arguments of a leaf's function: a part of the key of its jit cache."""

    dtype: DTypeLike  # of the update that leaves the function
    add_to_params: bool  # whether the result is the new parameter, and not its update
    columns: tuple[tuple[Column, ...], ...]  # of each rule


@dataclasses.dataclass(frozen=True)
class LeafCall:
    """The computation on one leaf, or on a stack of leaves."""

    batch: Group  # indices of the leaves in the `LeafTable`
    stacked: bool
    tree_indices: tuple[int, ...]  # indices of the leaves in the tree, placeholders included
    update: Array  # or a BCOO
    slots: tuple[Scalars, ...]
    param: Array | None
    steps: tuple[StepScalars, ...]  # of each rule
    signature: LeafSignature

    def arrays(self, *, with_row: bool = True) -> LeafArrays:
        """Returns the arguments, with the scalars of this leaf alone.

        Without `with_row`, the matrix of all leaves' scalars is in place of this leaf's row.
        """
        scalars = [step.at(self.batch, self.stacked, with_row=with_row) for step in self.steps]
        return LeafArrays(self.update, self.slots, self.param, tuple(scalars))


Result = tuple[Array, list[Scalars]]
"""The update or the new parameter, and the slots of each rule."""


class LeafFunction(Protocol):
    """Fused rules as executors use them: a function of one leaf, and a cache of programs."""

    @property
    def name(self) -> str:
        """Names of the rules, shown in programs and profiles."""

    @property
    def programs(self) -> dict[Hashable, Any]:
        """Jitted functions and plans of backends, which live as long as the rules."""

    def on_leaf(
        self,
        arrays: LeafArrays,
        index: Array,
        signature: LeafSignature,
        param_dtype: DTypeLike | None = None,
    ) -> Result:
        """Applies the rules to one dense leaf."""


class Executor(Protocol):
    """Runs fused rules on leaves.

    Attributes:
      joins_leaves: whether one call of `run` gets all leaves of this executor.
    """

    joins_leaves: bool

    def run(self, fused: LeafFunction, calls: Sequence[LeafCall]) -> Sequence[Result]:
        """Returns the result of each call."""


class Backend(Executor, Protocol):
    """An executor that runs some of the dense leaves in place of XLA."""

    def claims(self, fused: LeafFunction, call: LeafCall) -> bool:
        """Tells whether it runs this leaf."""


def choose_executor(fused: LeafFunction, call: LeafCall) -> Executor:
    """Chooses the executor of a leaf: the first in this order that fits.

    Stacked, sparse and quantized leaves come first, because backends and XLA take dense float
    arrays only. Sparse precedes quantized, because it decodes a few rows, which need no blocks.
    """
    if call.stacked:
        return STACKED
    if is_sparse(call.update):
        return SPARSE_ROWS
    if any(is_quantized(x) for slots in call.slots for x in slots.values()):
        return BLOCKWISE
    for backend in BACKENDS:
        if backend.claims(fused, call):
            return backend
    return XLA


@dataclasses.dataclass(frozen=True, eq=False)
class JitExecutor:
    """Runs one jitted function for each leaf or stack, traced once for each distinct shape.

    Attributes:
      on_leaf: `(fused, arrays, leaf index, signature) -> result`, computes one call.
      suffix: ending of the program's name, which follows the names of the rules.
    """

    on_leaf: Callable[[LeafFunction, LeafArrays, Array, LeafSignature], Result]
    suffix: str = ""

    joins_leaves = False

    def run(self, fused: LeafFunction, calls: Sequence[LeafCall]) -> list[Result]:
        """Returns the result of each call."""
        program, results = self.program(fused), []
        for call in calls:
            # An argument and not a constant, so that leaves of one shape share a program.
            tree_indices = np.asarray(call.tree_indices, np.int32)
            index = tree_indices if call.stacked else tree_indices[0]
            results.append(program(call.arrays(), index, call.signature))
        return results

    def program(self, fused: LeafFunction) -> Callable[..., Result]:
        """Returns the jitted function `(arrays, leaf index, signature) -> result`."""
        if self not in fused.programs:
            function: Any = functools.partial(self.on_leaf, fused)
            # Programs and profiles show the name.
            function.__name__ = function.__qualname__ = fused.name + self.suffix
            fused.programs[self] = jax.jit(function, static_argnums=2)
        program: Callable[..., Result] = fused.programs[self]
        return program


def _on_dense_leaf(
    fused: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    return fused.on_leaf(arrays, index, signature)


def _on_stack(
    fused: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Maps the function of a leaf over a stack: over all that differs from leaf to leaf."""
    rows = tuple((x.keys, x.row, x.trees) for x in arrays.scalars)

    def one(
        update: Array,
        slots: tuple[Scalars, ...],
        param: Array | None,
        rows: tuple[tuple[Scalars, Array | None, Scalars], ...],
        index: Array,
    ) -> Result:
        scalars = tuple(
            shared._replace(keys=keys, row=row, trees=trees)
            for shared, (keys, row, trees) in zip(arrays.scalars, rows, strict=True)
        )
        return fused.on_leaf(LeafArrays(update, slots, param, scalars), index, signature)

    return jax.vmap(one)(arrays.update, arrays.slots, arrays.param, rows, index)


def _on_sparse_rows(
    fused: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Gathers the rows of a sparse update, computes, and writes only these rows."""
    rows, param = Rows(arrays.update), arrays.param
    slots = decode_state(arrays.slots)
    dense = LeafArrays(rows.values, rows.of(slots), rows.of(param), arrays.scalars)
    # The update is added to the rows below, because the function has only some of the parameter.
    on_rows = signature._replace(add_to_params=False)
    update, new = fused.on_leaf(dense, index, on_rows, getattr(param, "dtype", None))
    update = rows.update(update)
    new_slots = [
        encode_like(quantized, {k: rows.put(old[k], x[k]) for k in old})
        for quantized, old, x in zip(arrays.slots, slots, new, strict=True)
    ]
    return (add_update(param, update) if signature.add_to_params else update), new_slots


def _on_blocks(
    fused: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Decodes quantized slots, computes, and encodes, a block of the leaf at a time."""
    # Imported late, because it needs jax.extend, whose import takes as long as all rules'.
    from ..leaf.blockwise import BlockInputs, run_blockwise

    def maths(
        inputs: BlockInputs, fixed: tuple[tuple[RuleScalars, ...], Array]
    ) -> tuple[Array, tuple[Scalars, ...]]:
        scalars, index = fixed
        result, slots = fused.on_leaf(LeafArrays(*inputs, scalars), index, signature)
        return result, tuple(slots)

    inputs = BlockInputs(arrays.update, arrays.slots, arrays.param)
    fixed = arrays.scalars, index
    result, slots = run_blockwise(maths, inputs, fixed, adds=signature.add_to_params)
    return result, list(slots)


XLA = JitExecutor(_on_dense_leaf)
STACKED = JitExecutor(_on_stack, "_stacked")
SPARSE_ROWS = JitExecutor(_on_sparse_rows, "_sparse_rows")
BLOCKWISE = JitExecutor(_on_blocks, "_blockwise")
