"""Stage 2: the scalars of a step, such as counts, schedules, bias corrections and norms."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..leaf.packing import Group, joined
from ..leaf.quantized import decode_state
from ..leaf.stacking import FEW, FEW_READERS, apart, sealed
from ..numerics.casting import cast
from ..numerics.precision import compute_dtype, hyper_dtype, safe_increment
from ..numerics.validation import as_state
from ..protocol import PyTree
from ..rules.bound_rule import BoundRule
from ..rules.context import StepContext
from ..rules.rng_keys import key_at
from ..state import State
from ..trees.placement import sharded_as, sharded_together
from ..trees.sparse_rows import Rows
from .leaf_table import LeafTable

__all__ = [
    "Column",
    "RuleScalars",
    "StepScalars",
    "compute_step_scalars",
    "computed_once",
    "one_row",
    "read_scalars",
]

Array = jax.Array
Scalars = dict[str, Array]
Fields = dict[str, PyTree]
"""Fields of a state by name."""


_RESERVED = ("leaf", "param_dtype", "rule")
"""Names in the context of a leaf that no rule may give to its scalars."""


class RuleScalars(NamedTuple):
    """The scalars and keys that the maths of one rule reads at one leaf."""

    hyperparams: Scalars
    context: Scalars
    keys: Scalars  # of this leaf
    row: Array | None  # scalars of this leaf alone, `(k,)`; the columns say which
    trees: Scalars  # this leaf of the trees that the rule needs


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
      keys: random keys of all leaves, `(n,)`.
      columns: what the columns of `matrix` are.
      matrix: scalars of each leaf, `(n, k)`; None where all leaves share all scalars.
      trees: per leaf, its part of the trees that the rule needs.
      next_fields: fields of the next state that are known already (count, hyperparams, carry, ...).
      stacks: groups of leaves that are updated as one.
    """

    hyperparams: Scalars
    context: Scalars
    keys: Scalars
    columns: tuple[Column, ...]
    matrix: Array | None
    trees: list[Scalars]
    next_fields: Fields
    stacks: tuple[Group, ...]

    def at(self, batch: Group, *, stacked: bool, with_row: bool = True) -> RuleScalars:
        """Returns the scalars of one leaf, or of a stack, with a new first axis of rows and trees.

        Without `with_row`, the matrix of all leaves stands in the place of the leaf's row.
        """
        shared = self.hyperparams, self.context
        if stacked:
            keys = {k: x[np.asarray(batch)] for k, x in self.keys.items()}
            row = None if self.matrix is None else self._rows_of_stacks[batch]
            return RuleScalars(*shared, keys, row, joined(self.trees, batch))
        (i,) = batch
        keys = {k: xs[i] for k, xs in self._keys_of_leaves.items()} if self.keys else {}
        row = self._rows[i] if with_row and self.matrix is not None else self.matrix
        return RuleScalars(*shared, keys, row, self.trees[i])

    @functools.cached_property
    def _keys_of_leaves(self) -> dict[str, list[Array]]:
        return {
            k: [
                jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
                for words in apart(jax.random.key_data(x))
            ]
            for k, x in self.keys.items()
        }

    @functools.cached_property
    def _rows(self) -> tuple[Array, ...]:
        assert self.matrix is not None
        return apart(self.matrix)

    @functools.cached_property
    def _rows_of_stacks(self) -> dict[Group, Array]:
        assert self.matrix is not None
        by_length: dict[int, list[Group]] = defaultdict(list)
        for stack in self.stacks:
            by_length[len(stack)].append(stack)
        rows: dict[Group, Array] = {}
        for stacks in by_length.values():
            matrices = apart(self.matrix[np.asarray(stacks)])
            rows |= dict(zip(stacks, matrices, strict=True))
        return rows


def one_row(matrix: Array, i: int) -> Array:
    """Returns the row `i` of a matrix `(n, k)`, in a program that needs no other row."""
    first = i - i % FEW
    chunk = jax.lax.slice_in_dim(matrix, first, min(first + FEW, matrix.shape[0]))
    return apart(chunk)[i - first]


def read_scalars(
    scalars: RuleScalars, columns: tuple[Column, ...], dtype: DTypeLike
) -> tuple[Scalars, Scalars]:
    """Returns the hyperparameters and context of one leaf, in the precision of the computation."""
    hyper, context = dict(scalars.hyperparams), dict(scalars.context)
    for j, column in enumerate(columns):
        assert scalars.row is not None
        # lax, because it traces in a third of the time of indexing.
        value = jax.lax.squeeze(jax.lax.slice(scalars.row, (j,), (j + 1,)), (0,))
        if not jnp.issubdtype(column.dtype, jnp.inexact):
            value = value.astype(column.dtype)
        (hyper if column.is_hyperparam else context)[column.name] = value
    return cast(hyper, dtype), cast(context, dtype)


def compute_step_scalars(
    rule: BoundRule, table: LeafTable, state: State, extra: Mapping[str, Any]
) -> StepScalars:
    """Computes the scalars of a rule at this step, each once for all leaves where they share it."""
    spec, n = rule.spec, len(table.updates)
    fields = state._asdict()
    hyper = dict(fields["hyperparams"])
    for name, evaluate in rule.schedules:
        hyper[name] = as_state(evaluate(fields["count"], fields["schedules"][name]))
    next_fields: Fields = {"count": safe_increment(fields["count"]), "hyperparams": dict(hyper)}
    by_leaf = _pop_by_label(rule, table, fields, hyper) if rule.labels else {}
    context = {k: jnp.asarray(extra[k]) for k in spec.needs if k not in ("params", "value_fn")}
    trees: list[Scalars] = [{}] * n
    if spec.needs_trees and not spec.whole_tree:
        aligned = {k: table.column(extra[k], k) for k in spec.needs_trees}
        trees = [{k: column[i] for k, column in aligned.items()} for i in range(n)]
    if spec.tree_stats.combine is not None:
        kept, quantities = _measure(rule, table, fields, hyper, context, trees)
        next_fields |= kept
        context |= quantities
    scalars: Scalars = {}
    if spec.step_scalars is not None:
        scalars = _step_scalars(rule, table, fields, hyper | by_leaf, next_fields)
    elif "leaf_counts" in fields:
        next_fields["leaf_counts"] = _advanced(rule, table, fields["leaf_counts"])
    keys = {}
    for k, generator in rule.generators:
        # One vmapped fold_in for all leaves; in the function of each leaf it would be a hash.
        key = key_at(fields["keys"][k], generator, fields["count"])
        numbers = np.asarray(table.numbers, np.int32)
        keys[k] = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
    if keys:
        context["count"] = fields["count"]
    context |= {k: x for k, x in scalars.items() if not x.ndim}
    per_leaf = [(Column(True, k, x.dtype), x) for k, x in by_leaf.items()]
    per_leaf += [(Column(False, k, x.dtype), x) for k, x in scalars.items() if x.ndim]
    columns = tuple([column for column, _ in per_leaf]) if n else ()
    matrix = None
    if columns:
        matrix = jnp.stack([x.astype(hyper_dtype()) for _, x in per_leaf], axis=1)
    return StepScalars(hyper, context, keys, columns, matrix, trees, next_fields, table.stacks)


def computed_once(steps: Sequence[StepScalars], readers: int) -> list[StepScalars]:
    """Wraps the scalars of fused rules so that XLA computes them once, and not for each leaf."""
    if readers < FEW_READERS:
        return list(steps)
    contexts = {(i, k): x for i, step in enumerate(steps) for k, x in step.context.items()}
    contexts = sealed(contexts)
    return [
        dataclasses.replace(step, context={k: contexts[i, k] for k in step.context})
        for i, step in enumerate(steps)
    ]


def _pop_by_label(rule: BoundRule, table: LeafTable, fields: Fields, hyper: Scalars) -> Scalars:
    """Moves the hyperparameters that differ by label out of `hyper`, to one value per leaf."""
    by_leaf = {}
    for name, labels in rule.labels:
        values = jnp.stack([hyper.pop(f"{name}.{label}") for label in labels])
        _check_number(rule, table, fields["groups"][name])
        by_leaf[name] = values[fields["groups"][name]]
    return by_leaf


def _check_number(rule: BoundRule, table: LeafTable, per_leaf: Array) -> None:
    """Raises where the state has another number of leaves than the updates."""
    if len(table.updates) != per_leaf.shape[-1]:
        raise ValueError(
            f"{rule.name}: the state was made for {per_leaf.shape[-1]} parameters, got updates for "
            f"{len(table.updates)}. Call init with the parameters of this run, and update with "
            "params where some have no update."
        )


def _advanced(rule: BoundRule, table: LeafTable, counts: Array) -> Array:
    """Returns the leaves' counts after this update; a leaf without an update keeps its count."""
    _check_number(rule, table, counts)
    return jnp.where(_has_update(table), safe_increment(counts), counts)


def _has_update(table: LeafTable) -> np.ndarray[Any, Any]:
    return np.isin(np.arange(len(table.updates)), table.active)


def _step_scalars(
    rule: BoundRule, table: LeafTable, fields: Fields, hyper: Scalars, next_fields: Fields
) -> Scalars:
    """Counts this update, and calls the rule's `step_scalars`.

    Adds `leaf_counts` and `carry`, where there are any, to `next_fields`.

    Returns:
      The scalars, `()` where all leaves share them, else `(n,)`.
    """
    known = hyper | {"count": fields["count"]} | fields.get("carry", {})
    n = len(table.updates)
    by_leaf = "leaf_counts" in fields or (rule.counts_leaves and len(table.active) < n)
    if not by_leaf:
        known["t"] = next_fields["count"].astype(hyper_dtype())
    else:
        # All leaves shared the count so far, or each has its own.
        before = fields.get("leaf_counts", jnp.broadcast_to(fields["count"], (n,)))
        counts = next_fields["leaf_counts"] = _advanced(rule, table, before)
        # Bias corrections are infinite at t = 0; a leaf that has not started is not computed.
        known["t"] = jnp.maximum(counts, 1).astype(hyper_dtype())
        known |= {k: jnp.broadcast_to(v, (n,)) for k, v in fields.get("carry", {}).items()}
    scalars = {
        k: x if isinstance(x, jax.Array) else as_state(x)
        for k, x in rule.step_scalars(known).items()
    }
    for name, x in scalars.items():
        if name in _RESERVED:
            raise ValueError(
                f"{rule.name}: step_scalars returned {name!r}, a name that the engine gives to the "
                "maths itself. Choose another one."
            )
        if x.shape not in ((), (n,)):
            raise ValueError(
                f"{rule.name}: step_scalars returned {name!r} of shape {x.shape}; each value must "
                f"be a scalar, or have one element for each of the {n} leaves."
            )
    if rule.carried_names:
        next_fields["carry"] = _next_carry(rule, scalars, known, _has_update(table), by_leaf)
    return scalars


def _next_carry(
    rule: BoundRule, scalars: Scalars, known: Scalars, has_update: np.ndarray, by_leaf: bool
) -> Scalars:
    """Returns the next carried scalars; those of a leaf without an update stay."""
    missing = [k for k in rule.carried_names if k not in scalars]
    if missing:
        raise ValueError(
            f"{rule.name}: step_scalars does not return {missing[0]!r}, which carry declares. "
            "Return its next value."
        )
    return {
        # Broadcast, because a scalar that no label changes is kept for each leaf all the same.
        k: jnp.where(has_update, scalars[k], known[k])
        if by_leaf
        else jnp.broadcast_to(scalars[k], jnp.shape(known[k]))
        for k in rule.carried_names
    }


def _measure(
    rule: BoundRule,
    table: LeafTable,
    state_fields: Fields,
    hyper: Scalars,
    needed: Scalars,
    trees: list[Scalars],
) -> tuple[dict[str, Scalars], Scalars]:
    """Computes the quantities of the whole tree.

    Returns:
      The state's `scalars` and `metrics`, and all quantities.
    """
    stats, arguments = rule.spec.tree_stats, hyper | dict(rule.options)
    assert stats.combine is not None
    kept = {k: state_fields[k] for k in ("scalars", "metrics") if k in state_fields}
    last = {name: x for values in kept.values() for name, x in values.items()} | needed
    prepared = {}
    if stats.prepare is not None:
        known = last | {"count": state_fields["count"]}
        prepared = {k: as_state(x) for k, x in stats.prepare(known, **arguments).items()}
        last |= prepared
    measured = None
    if stats.measure is not None:
        measured = _measurements(rule, table, hyper, last, trees)
        if measured is not None and stats.rescale is not None:
            scale = stats.rescale(measured)

            def again(_: Scalars) -> Scalars | None:
                return _measurements(rule, table, hyper, last | {"scale": scale}, trees)

            if isinstance(scale, jax.core.Tracer):
                measured = jax.lax.cond(scale == 1, lambda sound: sound, again, measured)
            elif scale != 1:  # without a trace, a cond would compile its branches at each step
                measured = again(measured)
            last |= {"scale": scale}
    made = {k: as_state(x) for k, x in stats.combine(measured, last, **arguments).items()}
    missing = [name for names in kept.values() for name in names if name not in made]
    if missing:
        raise ValueError(
            f"{rule.name}: combine of tree_stats returned {sorted(made)}, and not "
            f"{missing[0]!r}, which start or metrics declares. Return its next value."
        )
    return {k: {name: made[name] for name in kept[k]} for k in kept}, prepared | made


def _measurements(
    rule: BoundRule, table: LeafTable, hyper: Scalars, last: Scalars, trees: list[Scalars]
) -> Scalars | None:
    """Measures all leaves that have an update; returns `(n,)` each, in the leaves' order."""
    with_params, columns = rule.spec.reads_params, []
    for batch in table.batches:
        stacked = batch in table.stacks
        g, (slots, *_), p = table.inputs(batch, with_params=with_params)
        numbers = np.asarray([table.numbers[i] for i in batch], np.int32)
        own = joined(trees, batch) if stacked else trees[batch[0]]
        number = numbers if stacked else numbers[0]
        measure = _measure_program(rule, stacked=stacked)
        columns.append(measure(g, slots, p, number, own, hyper, last))
    if not columns:
        return None
    # A leaf measures scalars, a stack vectors.
    if not table.stacks:
        return jax.tree.map(lambda *xs: jnp.stack(xs), *columns)
    order = np.argsort([i for batch in table.batches for i in batch])
    return jax.tree.map(
        lambda *xs: jnp.concatenate([jnp.atleast_1d(x) for x in xs])[order], *columns
    )


def _measure_program(rule: BoundRule, *, stacked: bool) -> Callable[..., Scalars]:
    """Returns the jitted measurement of a leaf or a stack, which lives as long as the rule."""
    if ("measure", stacked) not in rule.programs:
        rule.programs["measure", stacked] = _make_measure_program(rule, stacked=stacked)
    return rule.programs["measure", stacked]


def _make_measure_program(rule: BoundRule, *, stacked: bool) -> Callable[..., Scalars]:
    def measure(
        g: Array,
        slots: Scalars,
        p: Array | None,
        number: Array,
        trees: Scalars,
        hyper: Scalars,
        last: Scalars,
    ) -> Scalars:
        assert rule.spec.tree_stats.measure is not None
        compute = compute_dtype(g.dtype)
        real = jnp.finfo(compute).dtype
        arguments = cast(hyper, real) | dict(rule.options)
        rows = Rows(g)
        placed = sharded_together(rows.values, *rows.of((decode_state(slots), p)))
        trees = {k: sharded_as(x, placed[0]) for k, x in trees.items()}
        g, slots, p = cast(placed, compute)
        trees = cast(trees, real)
        if rule.spec.split_complex and jnp.iscomplexobj(g):
            g, slots, p, trees = jax.tree.map(_parts, (g, slots, p, trees))
        context = StepContext(**cast(last, real), **trees, leaf=number, rule=rule.name)
        measured = rule.spec.tree_stats.measure(g, State(**slots), p, context, **arguments)
        return {k: as_state(v) for k, v in measured.items()}

    program: Any = measure
    if stacked:
        program = jax.vmap(measure, in_axes=(0, 0, 0, 0, 0, None, None))
    name = f"{rule.name}_measure_stacked" if stacked else f"{rule.name}_measure"
    program.__name__ = program.__qualname__ = name  # programs and profiles show it
    return jax.jit(program)


def _parts(x: Array) -> Array:
    """Stacks the real and the imaginary part of an array; a real array is both."""
    return jnp.stack([jnp.real(x), jnp.imag(x)] if jnp.iscomplexobj(x) else [x, x])
