"""Stage 3 of an update: the function of a leaf, and its executors for each kind of leaf."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..leaf.dtypes import split_complex
from ..leaf.packing import Group
from ..leaf.quantized import QuantizedArray, decode_state, encode_like
from ..numerics.precision import cast, compute_dtype, real_dtype
from ..protocol import Arrays
from ..rules.bound_rule import BoundRule
from ..rules.context import StepContext, UndeclaredParam
from ..state import State
from ..trees.apply import add_update
from ..trees.placement import sharded_as, sharded_together, typed_as
from ..trees.sparse_rows import Rows
from ..trees.structure import is_sparse
from .backends import BACKENDS
from .step_scalars import Column, LeafScalars, StepScalars, read_scalars

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


class LeafArrays(NamedTuple):
    """The arguments of a leaf's function."""

    update: Array
    slots: tuple[Arrays, ...]  # one for each rule
    param: Array | None
    scalars: tuple[LeafScalars, ...]  # one for each rule


class LeafSignature(NamedTuple):
    """The static arguments of a leaf's function: a part of the key of its jit cache."""

    dtype: DTypeLike  # of the update that leaves the function
    add_to_params: bool  # whether the result is the new parameter, and not its update
    columns: tuple[tuple[Column, ...], ...]  # one for each rule


@dataclasses.dataclass(frozen=True)
class LeafCall:
    """The computation on one leaf, or on a stack of leaves."""

    batch: Group  # indices of the leaves in the `LeafTable`
    stacked: bool
    tree_indices: tuple[int, ...]  # indices of the leaves in the tree, placeholders included
    update: Array  # or a BCOO
    slots: tuple[Arrays, ...]
    param: Array | None
    steps: tuple[StepScalars, ...]  # one for each rule
    signature: LeafSignature

    def arrays(self, *, with_row: bool = True) -> LeafArrays:
        """Returns the arguments, with the scalars of this leaf alone.

        Without `with_row`, the matrix of all leaves' scalars is in place of this leaf's row.
        """
        scalars = [step.at(self.batch, self.stacked, with_row=with_row) for step in self.steps]
        return LeafArrays(self.update, self.slots, self.param, tuple(scalars))


Result = tuple[Array, list[Arrays]]
"""The update or the new parameter, and the slots of each rule."""


@dataclasses.dataclass(frozen=True, eq=False)
class LeafFunction:
    """The function of one leaf: neighbouring rules, applied one after another.

    Attributes:
      name: the names of the rules, which programs and profiles show.
      rules: the rules, in order.
      programs: jitted functions, and plans of backends, which live as long as the rules.
    """

    name: str
    rules: tuple[BoundRule, ...]
    programs: dict[Hashable, Any] = dataclasses.field(default_factory=dict)

    def on_leaf(
        self,
        arrays: LeafArrays,
        index: Array,
        signature: LeafSignature,
        param_dtype: DTypeLike | None = None,
    ) -> Result:
        """Applies all rules to one dense leaf, in the precision of the computation.

        Args:
          arrays: the leaf's arrays and scalars.
          index: the leaf's index in the tree.
          signature: the static arguments.
          param_dtype: dtype of the parameter, where `arrays` has only some of its rows.
        """
        update, slots, param, scalars = arrays
        # Computed with one sharding; each result then gets the sharding of the array it replaces.
        u, sharded_slots, p = sharded_together(update, slots, param)
        compute = compute_dtype(signature.dtype)
        real = real_dtype(compute)
        u, p = cast((u, p), compute)
        param_dtype = param_dtype or getattr(param, "dtype", None)
        new_slots = []
        for rule, state_slots, rule_slots, rule_scalars, columns in zip(
            self.rules, slots, sharded_slots, scalars, signature.columns, strict=True
        ):
            hyper, context = read_scalars(rule_scalars, columns, real)
            hyper |= rule_scalars.keys
            context |= cast({k: sharded_as(x, u) for k, x in rule_scalars.trees.items()}, real)
            dtypes = {"param_dtype": param_dtype} if rule.spec.reads_params else {}
            ctx = StepContext(**context, **dtypes, leaf=index, rule=rule.name)
            run = _run_on_parts if rule.spec.split_complex and jnp.iscomplexobj(u) else _run_maths
            u, new = run(rule, u, cast(rule_slots, compute), p, ctx, hyper | dict(rule.options))
            new_slots.append(
                {k: typed_as(sharded_as(new[k], x), x) for k, x in state_slots.items()}
            )
        # A rule that decides the new parameter returns the exact difference to it, which a narrower
        # dtype would round; the rules after it must not round it either.
        if not any(rule.spec.keep_compute_dtype for rule in self.rules):
            u = u.astype(signature.dtype)
        if signature.add_to_params:
            return add_update(param, u), new_slots
        return sharded_as(u, update), new_slots


def _run_maths(
    rule: BoundRule,
    g: Array,
    slots: Arrays,
    p: Array | None,
    ctx: StepContext,
    arguments: Mapping[str, object],
) -> tuple[Array, Arrays]:
    """Calls the maths of a rule, and checks its result."""
    parameter = p if rule.spec.reads_params else rule.undeclared_param
    try:
        result = rule.spec.maths(g, State(**slots), parameter, ctx, **arguments)
    except TypeError as error:
        # JAX refuses the object before it uses it, and names its class.
        if isinstance(parameter, UndeclaredParam) and UndeclaredParam.__name__ in str(error):
            parameter.refuse()
        raise
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise TypeError(
            f"{rule.name}: the maths must return (update, slots), with slots a dict, got "
            f"{type(result).__name__}. Return (u, {{}}) where the rule keeps no slots."
        )
    update, new = result
    if new.keys() != slots.keys():
        raise ValueError(
            f"{rule.name}: the maths returned the slots {sorted(new)}, and the rule keeps "
            f"{sorted(slots)}. Return the next value of each slot that `slots` declares."
        )
    for what, x in {
        "the update": update,
        **{f"the slot {k!r}": x for k, x in new.items()},
    }.items():
        if not hasattr(x, "dtype"):
            raise TypeError(
                f"{rule.name}: the maths returned {x!r} for {what}, of type "
                f"{type(x).__name__}. Return an array, such as jnp.zeros_like(g)."
            )
    return update, dict(new)


def _run_on_parts(
    rule: BoundRule,
    g: Array,
    slots: Arrays,
    p: Array | None,
    ctx: StepContext,
    arguments: Mapping[str, object],
) -> tuple[Array, Arrays]:
    """Calls the maths of a rule on the real and the imaginary part of a leaf in turn."""

    def maths(g: Array, slots: Arrays, p: Array | None, trees: Arrays) -> tuple[Array, Arrays]:
        part = StepContext(**vars(ctx) | trees)
        return _run_maths(rule, g, slots, p, part, arguments)

    # The trees are split as well, so the maths reads them as an argument and not from ctx.
    trees = {k: getattr(ctx, k) for k in rule.spec.needs_trees}
    return split_complex(maths, g, slots, p, trees)


@dataclasses.dataclass(frozen=True, eq=False)
class JitExecutor:
    """Runs one jitted function for each leaf or stack, traced once for each distinct shape.

    Attributes:
      on_leaf: `(leaf function, arrays, leaf index, signature) -> result`, computes one call.
      suffix: ending of the program's name, which follows the names of the rules.
    """

    on_leaf: Callable[[LeafFunction, LeafArrays, Array, LeafSignature], Result]
    suffix: str = ""

    joins_leaves = False  # see `Backend`

    def run(self, function: LeafFunction, calls: Sequence[LeafCall]) -> list[Result]:
        """Returns the result of each call."""
        program, results = self.program(function), []
        for call in calls:
            # An argument and not a constant, so that leaves of one shape share a program.
            tree_indices = np.asarray(call.tree_indices, np.int32)
            index = tree_indices if call.stacked else tree_indices[0]
            results.append(program(call.arrays(), index, call.signature))
        return results

    def program(self, function: LeafFunction) -> Callable[..., Result]:
        """Returns the jitted function `(arrays, leaf index, signature) -> result`."""
        if self not in function.programs:
            on_leaf: Any = functools.partial(self.on_leaf, function)
            on_leaf.__name__ = on_leaf.__qualname__ = function.name + self.suffix
            function.programs[self] = jax.jit(on_leaf, static_argnums=2)
        program: Callable[..., Result] = function.programs[self]
        return program


class Backend(Protocol):
    """Runs some of the dense leaves in place of XLA.

    Attributes:
      joins_leaves: whether one call of `run` gets all leaves of this backend.
    """

    joins_leaves: bool

    def claims(self, function: LeafFunction, call: LeafCall) -> bool:
        """Tells whether it runs this leaf, whose function adds the update to the parameter."""

    def run(self, function: LeafFunction, calls: Sequence[LeafCall]) -> Sequence[Result]:
        """Returns the result of each call."""


Executor = JitExecutor | Backend
"""Runs the function of a leaf: XLA in one of several ways, or a backend."""


def choose_executor(function: LeafFunction, call: LeafCall) -> Executor:
    """Chooses the executor of a leaf: the first in this order that fits.

    Stacked, sparse and quantized leaves come first, because backends and XLA take dense float
    arrays only. Sparse precedes quantized, because it decodes a few rows, which need no blocks.

    Backends may claim only leaves whose function adds the update to the parameter. XLA fuses the
    loop of an update with whatever reads it, where a kernel would write it to memory, in pages that
    are new at each step, which takes up to three times as long.
    """
    if call.stacked:
        return STACKED
    if is_sparse(call.update):
        return SPARSE_ROWS
    if any(isinstance(x, QuantizedArray) for slots in call.slots for x in slots.values()):
        return BLOCKWISE
    for backend in BACKENDS if call.signature.add_to_params else ():
        if backend.claims(function, call):
            return backend
    return XLA


def _on_stack(
    function: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Maps the function of a leaf over a stack: over all that differs from leaf to leaf."""
    rows = tuple((x.keys, x.row, x.trees) for x in arrays.scalars)

    def on_one(
        update: Array,
        slots: tuple[Arrays, ...],
        param: Array | None,
        rows: tuple[tuple[Arrays, Array | None, Arrays], ...],
        index: Array,
    ) -> Result:
        scalars = tuple(
            shared._replace(keys=keys, row=row, trees=trees)
            for shared, (keys, row, trees) in zip(arrays.scalars, rows, strict=True)
        )
        return function.on_leaf(LeafArrays(update, slots, param, scalars), index, signature)

    return jax.vmap(on_one)(arrays.update, arrays.slots, arrays.param, rows, index)


def _on_sparse_rows(
    function: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Gathers the rows of a sparse update, computes, and writes only these rows."""
    rows, param = Rows(arrays.update), arrays.param
    slots = decode_state(arrays.slots)
    dense = LeafArrays(rows.values, rows.of(slots), rows.of(param), arrays.scalars)
    # The update is added below, because the function has only these rows of the parameter.
    on_rows = signature._replace(add_to_params=False)
    update, new = function.on_leaf(dense, index, on_rows, getattr(param, "dtype", None))
    update = rows.update(update)
    new_slots = [
        encode_like(quantized, {k: rows.put(old[k], x[k]) for k in old})
        for quantized, old, x in zip(arrays.slots, slots, new, strict=True)
    ]
    return (add_update(param, update) if signature.add_to_params else update), new_slots


def _on_blocks(
    function: LeafFunction, arrays: LeafArrays, index: Array, signature: LeafSignature
) -> Result:
    """Decodes quantized slots, computes, and encodes, a block of the leaf at a time."""
    # Imported late, because it needs jax.extend, whose import takes as long as all rules'.
    from ..leaf.blockwise import BlockInputs, run_blockwise

    def maths(
        inputs: BlockInputs, fixed: tuple[tuple[LeafScalars, ...], Array]
    ) -> tuple[Array, tuple[Arrays, ...]]:
        scalars, index = fixed
        result, slots = function.on_leaf(LeafArrays(*inputs, scalars), index, signature)
        return result, tuple(slots)

    inputs = BlockInputs(arrays.update, arrays.slots, arrays.param)
    fixed = arrays.scalars, index
    result, slots = run_blockwise(maths, inputs, fixed, adds=signature.add_to_params)
    return result, list(slots)


XLA = JitExecutor(LeafFunction.on_leaf)
STACKED = JitExecutor(_on_stack, "_stacked")
SPARSE_ROWS = JitExecutor(_on_sparse_rows, "_sparse_rows")
BLOCKWISE = JitExecutor(_on_blocks, "_blockwise")
