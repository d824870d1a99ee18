"""Stage 2 of an update: the scalars of a step, such as counts, schedules and bias corrections."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..leaf.packing import Group, stack_trees
from ..leaf.stacking import KERNEL_OUTPUTS, MIN_READERS, materialize_scalars, unstack_array
from ..numerics.precision import cast, hyper_dtype, safe_increment
from ..numerics.validation import as_state
from ..protocol import Arrays, PyTree
from ..rules.bound_rule import BoundRule
from ..rules.rng_keys import key_at
from .leaf_table import LeafTable
from .measuring import measure_tree

__all__ = [
    "Column",
    "LeafScalars",
    "StepScalars",
    "compute_step_scalars",
    "compute_once",
    "one_row",
    "read_scalars",
]

Array = jax.Array
Fields = dict[str, PyTree]
"""Fields of a state by name."""


_RESERVED = ("leaf", "param_dtype", "rule")
"""Names in the context of a leaf that are reserved for the engine."""


class LeafScalars(NamedTuple):
    """The scalars and keys that the maths of one rule reads at one leaf."""

    hyperparams: Arrays
    context: Arrays
    keys: Arrays  # of this leaf
    row: Array | None  # scalars of this leaf alone, `(k,)`, named by the columns
    trees: Arrays  # this leaf of the trees that the rule needs


class Column(NamedTuple):
    """A scalar that differs from leaf to leaf: one column of the matrix of all leaves."""

    is_hyperparam: bool
    name: str
    dtype: DTypeLike


@dataclasses.dataclass(frozen=True)
class StepScalars:
    """The scalars of one rule at one step.

    Attributes:
      hyperparams, context: scalars that all leaves share.
      keys: name of a random key -> the keys of all leaves, `(n,)`.
      columns: names and dtypes of the columns of `matrix`.
      matrix: scalars of each leaf, `(n, k)`; None if all leaves share all scalars.
      trees: for each leaf, the same leaf of the trees that the rule needs.
      next_fields: fields of the next state that are computed already (count, hyperparams, ...).
      stacks: groups of leaves that are updated together.
    """

    hyperparams: Arrays
    context: Arrays
    keys: Arrays
    columns: tuple[Column, ...]
    matrix: Array | None
    trees: list[Arrays]
    next_fields: Fields
    stacks: tuple[Group, ...]

    def at(self, batch: Group, stacked: bool, *, with_row: bool = True) -> LeafScalars:
        """Returns the scalars of one leaf, or of a stack of leaves.

        For a stack, keys, row and trees have a new first axis, with an element for each leaf.
        Without `with_row`, `row` is the matrix of all leaves.
        """
        shared = self.hyperparams, self.context
        if stacked:
            keys = {k: x[np.asarray(batch)] for k, x in self.keys.items()}
            row = None if self.matrix is None else self._rows_of_stacks[batch]
            return LeafScalars(*shared, keys, row, stack_trees(self.trees, batch))
        (i,) = batch
        keys = {k: xs[i] for k, xs in self._keys_of_leaves.items()} if self.keys else {}
        row = self._rows[i] if with_row and self.matrix is not None else self.matrix
        return LeafScalars(*shared, keys, row, self.trees[i])

    @functools.cached_property
    def _keys_of_leaves(self) -> dict[str, list[Array]]:
        return {
            k: [
                jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
                for words in unstack_array(jax.random.key_data(x))
            ]
            for k, x in self.keys.items()
        }

    @functools.cached_property
    def _rows(self) -> tuple[Array, ...]:
        assert self.matrix is not None
        return unstack_array(self.matrix)

    @functools.cached_property
    def _rows_of_stacks(self) -> dict[Group, Array]:
        assert self.matrix is not None
        # One gather for all stacks of equal length, because XLA compiles a kernel for each gather.
        by_length: dict[int, list[Group]] = defaultdict(list)
        for stack in self.stacks:
            by_length[len(stack)].append(stack)
        rows: dict[Group, Array] = {}
        for stacks in by_length.values():
            matrices = unstack_array(self.matrix[np.asarray(stacks)])
            rows |= dict(zip(stacks, matrices, strict=True))
        return rows


def one_row(matrix: Array, i: int) -> Array:
    """Returns the row `i` of a matrix `(n, k)`, in a program that does not need the other rows."""
    # Only the chunk with the row is unstacked, by a kernel that programs of other rows share.
    first = i - i % KERNEL_OUTPUTS
    chunk = jax.lax.slice_in_dim(matrix, first, min(first + KERNEL_OUTPUTS, matrix.shape[0]))
    return unstack_array(chunk)[i - first]


def read_scalars(
    scalars: LeafScalars, columns: tuple[Column, ...], dtype: DTypeLike
) -> tuple[Arrays, Arrays]:
    """Returns the hyperparameters and context of one leaf, in the precision of the computation."""
    hyper, context = dict(scalars.hyperparams), dict(scalars.context)
    for j, column in enumerate(columns):
        assert scalars.row is not None
        # Tracing these two operations takes a third of the time of tracing row[j].
        value = jax.lax.squeeze(jax.lax.slice(scalars.row, (j,), (j + 1,)), (0,))
        if not jnp.issubdtype(column.dtype, jnp.inexact):
            value = value.astype(column.dtype)
        (hyper if column.is_hyperparam else context)[column.name] = value
    return cast(hyper, dtype), cast(context, dtype)


def compute_step_scalars(
    rule: BoundRule, table: LeafTable, fields: Fields, extra: Mapping[str, Any]
) -> StepScalars:
    """Computes the scalars of a rule at this step, once if all leaves share them."""
    spec, n = rule.spec, len(table.updates)
    hyper = dict(fields["hyperparams"])
    # In the state, scheduled hyperparameters have their values at the last step.
    for name, evaluate in rule.schedules:
        hyper[name] = as_state(evaluate(fields["count"], fields["schedules"][name]))
    next_fields: Fields = {"count": safe_increment(fields["count"]), "hyperparams": dict(hyper)}
    by_leaf = _pop_by_label(rule, table, fields, hyper) if rule.labels else {}
    context = {k: jnp.asarray(extra[k]) for k in spec.needs if k not in ("params", "value_fn")}
    trees: list[Arrays] = [{}] * n
    if spec.needs_trees and not spec.whole_tree:
        aligned = {k: table.column(extra[k], k) for k in spec.needs_trees}
        trees = [{k: column[i] for k, column in aligned.items()} for i in range(n)]
    if spec.tree_stats.combine is not None:
        next_stats, quantities = measure_tree(rule, table, fields, hyper, context, trees)
        next_fields |= next_stats
        context |= quantities
    scalars: Arrays = {}
    # A mask may leave this rule no leaves; nothing then reads its scalars.
    if spec.step_scalars is not None and n:
        scalars = _step_scalars(rule, table, fields, hyper | by_leaf, next_fields)
    elif "leaf_counts" in fields:
        next_fields["leaf_counts"] = _next_counts(rule, table, fields["leaf_counts"])
    keys = {}
    for k, generator in rule.generators:
        # One vmapped fold_in for all leaves; otherwise each leaf's program would compile the hash.
        key = key_at(fields["keys"][k], generator, fields["count"])
        indices = np.asarray(table.tree_indices, np.int32)
        keys[k] = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
    if keys:
        context["count"] = fields["count"]
    # Scalars that all leaves share are arguments of each leaf's function; others are columns.
    context |= {k: x for k, x in scalars.items() if not x.ndim}
    per_leaf = [(Column(True, k, x.dtype), x) for k, x in by_leaf.items()]
    per_leaf += [(Column(False, k, x.dtype), x) for k, x in scalars.items() if x.ndim]
    columns = tuple([column for column, _ in per_leaf]) if n else ()
    matrix = None
    if columns:
        # One array, because each argument of the leaves' functions costs time to dispatch.
        matrix = jnp.stack([x.astype(hyper_dtype()) for _, x in per_leaf], axis=1)
    return StepScalars(hyper, context, keys, columns, matrix, trees, next_fields, table.stacks)


def compute_once(
    rules: Sequence[BoundRule], steps: Sequence[StepScalars], readers: int
) -> list[StepScalars]:
    """Wraps the scalars of fused rules so that XLA computes them once, and not for each leaf.

    A scalar such as 1 - b1 is not wrapped: a loop that also reads b1 computes 1 - b1 at no cost,
    and so has one argument less.
    """
    if readers < MIN_READERS:  # XLA may repeat a cheap operation a few times
        return list(steps)
    contexts = {
        (i, k): x
        for i, (rule, step) in enumerate(zip(rules, steps, strict=True))
        for k, x in step.context.items()
        if k not in rule.inexpensive_scalars
    }
    contexts = materialize_scalars(contexts)
    return [
        dataclasses.replace(
            step, context={k: contexts.get((i, k), x) for k, x in step.context.items()}
        )
        for i, step in enumerate(steps)
    ]


def _pop_by_label(rule: BoundRule, table: LeafTable, fields: Fields, hyper: Arrays) -> Arrays:
    """Removes the hyperparameters that differ by label from `hyper`, and returns their values.

    Returns:
      Name -> the value of each leaf, `(n,)`.
    """
    by_leaf = {}
    # `groups` in the state contains the index of each leaf's label.
    for name, labels in rule.labels:
        values = jnp.stack([hyper.pop(f"{name}.{label}") for label in labels])
        _check_leaf_count(rule, table, fields["groups"][name])
        by_leaf[name] = values[fields["groups"][name]]
    return by_leaf


def _check_leaf_count(rule: BoundRule, table: LeafTable, per_leaf: Array) -> None:
    """Raises ValueError if the state was made for another number of leaves."""
    if len(table.updates) != per_leaf.shape[-1]:
        raise ValueError(
            f"{rule.name}: the state was made for {per_leaf.shape[-1]} parameters, got updates for "
            f"{len(table.updates)}. Call init with the parameters of this run, and pass params to "
            "update if some parameters have no update."
        )


def _next_counts(rule: BoundRule, table: LeafTable, counts: Array) -> Array:
    """Returns the leaves' counts after this update; a leaf without an update keeps its count."""
    _check_leaf_count(rule, table, counts)
    return jnp.where(_has_update(table), safe_increment(counts), counts)


def _has_update(table: LeafTable) -> np.ndarray[Any, Any]:
    return np.isin(np.arange(len(table.updates)), table.active)


def _step_scalars(
    rule: BoundRule, table: LeafTable, fields: Fields, hyper: Arrays, next_fields: Fields
) -> Arrays:
    """Counts this update, and calls the rule's `step_scalars`.

    Adds `leaf_counts` and `carry` to `next_fields`, if the state keeps them.

    Returns:
      The scalars, `()` where all leaves share them, else `(n,)`.
    """
    values = hyper | {"count": fields["count"]} | fields.get("carry", {})
    n = len(table.updates)
    has_counts = "leaf_counts" in fields or (rule.counts_leaves and len(table.active) < n)
    if not has_counts:
        values["t"] = next_fields["count"].astype(hyper_dtype())
    else:
        # Separate counts begin, with the common count, at the first update that lacks a leaf.
        before = fields.get("leaf_counts", jnp.broadcast_to(fields["count"], (n,)))
        counts = next_fields["leaf_counts"] = _next_counts(rule, table, before)
        # A leaf without any update so far has t = 0, where bias corrections would be infinite.
        values["t"] = jnp.maximum(counts, 1).astype(hyper_dtype())
        values |= {k: jnp.broadcast_to(v, (n,)) for k, v in fields.get("carry", {}).items()}
    scalars = {
        k: x if isinstance(x, jax.Array) else as_state(x)
        for k, x in rule.step_scalars(values).items()
    }
    for name, x in scalars.items():
        if name in _RESERVED:
            raise ValueError(
                f"{rule.name}: step_scalars returned {name!r}, a name under which the engine "
                "passes another value to the maths. Choose a different name."
            )
        if x.shape not in ((), (n,)):
            raise ValueError(
                f"{rule.name}: step_scalars returned {name!r} of shape {x.shape}; each value must "
                f"be a scalar, or have one element for each of the {n} leaves."
            )
    if rule.carried_names:
        next_fields["carry"] = _next_carry(rule, scalars, values, _has_update(table), has_counts)
    return scalars


def _next_carry(
    rule: BoundRule, scalars: Arrays, values: Arrays, has_update: np.ndarray, per_leaf: bool
) -> Arrays:
    """Returns the next carried scalars; a leaf without an update keeps the last ones."""
    missing = [k for k in rule.carried_names if k not in scalars]
    if missing:
        raise ValueError(
            f"{rule.name}: step_scalars does not return {missing[0]!r}, which carry declares. "
            "Return its next value."
        )
    return {
        # Broadcast, because the shape in the state stays `(n,)` also where leaves share the value.
        k: jnp.where(has_update, scalars[k], values[k])
        if per_leaf
        else jnp.broadcast_to(scalars[k], jnp.shape(values[k]))
        for k in rule.carried_names
    }
