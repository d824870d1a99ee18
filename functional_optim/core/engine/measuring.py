"""The part of stage 2 that few rules need: quantities of the whole tree, such as its norm."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..leaf.packing import stack_trees
from ..leaf.quantized import decode_state
from ..numerics.precision import cast, compute_dtype, hyper_dtype, real_dtype
from ..numerics.validation import as_state
from ..protocol import Arrays, PyTree
from ..rules.bound_rule import BoundRule
from ..rules.context import StepContext
from ..state import State
from ..trees.placement import sharded_as, sharded_together
from ..trees.sparse_rows import Rows
from .leaf_table import LeafTable

__all__ = ["measure_tree", "with_sums"]

Array = jax.Array
Fields = dict[str, PyTree]
"""Fields of a state by name."""


def measure_tree(
    rule: BoundRule,
    table: LeafTable,
    state_fields: Fields,
    hyper: Arrays,
    extra: Arrays,
    trees: list[Arrays],
) -> tuple[dict[str, Arrays], Arrays]:
    """Computes the quantities of the whole tree.

    Args:
      rule: the rule, whose `tree_stats` has the functions.
      table: the leaves.
      state_fields: the fields of the rule's state, by name.
      hyper: the hyperparameters at this step.
      extra: the extra arguments that the rule needs.
      trees: for each leaf, the same leaf of the trees that the rule needs.

    Returns:
      The state's `scalars` and `metrics`, and all quantities.
    """
    stats, arguments = rule.spec.tree_stats, hyper | dict(rule.options)
    assert stats.combine is not None
    last_fields: dict[str, Arrays] = {
        k: state_fields[k] for k in ("scalars", "metrics") if k in state_fields
    }
    last = {name: x for values in last_fields.values() for name, x in values.items()} | extra
    prepared = {}
    if stats.prepare is not None:
        with_count = last | {"count": state_fields["count"]}
        prepared = {k: as_state(x) for k, x in stats.prepare(with_count, **arguments).items()}
        last |= prepared
    measured = None
    if stats.measure is not None:
        measured = _measurements(rule, table, hyper, last, trees)
        # Measured again, with scaled values, if squares over- or underflowed.
        if measured is not None and stats.rescale is not None:
            scale = stats.rescale(measured)

            def measure_scaled(_: Arrays) -> Arrays | None:
                return _measurements(rule, table, hyper, last | {"scale": scale}, trees)

            if isinstance(scale, jax.core.Tracer):
                measured = jax.lax.cond(scale == 1, lambda sound: sound, measure_scaled, measured)
            elif scale != 1:  # without a trace, a cond would compile its branches at each step
                measured = measure_scaled(measured)
            last |= {"scale": scale}
    combined = {k: as_state(x) for k, x in stats.combine(measured, last, **arguments).items()}
    # `with_sums` computes these metrics after the update.
    last_fields = {
        k: {name: x for name, x in values.items() if name not in stats.sums}
        for k, values in last_fields.items()
    }
    missing = [name for names in last_fields.values() for name in names if name not in combined]
    if missing:
        raise ValueError(
            f"{rule.name}: combine of tree_stats returned {sorted(combined)}, and not "
            f"{missing[0]!r}, which start or metrics declares. Return its next value."
        )
    next_fields = {k: {name: combined[name] for name in last_fields[k]} for k in last_fields}
    return next_fields, prepared | combined


def with_sums(rule: BoundRule, next_fields: Fields, slots: Mapping[str, PyTree]) -> Fields:
    """Adds the metrics that are sums of the new slots."""
    zero = jnp.zeros((), hyper_dtype())
    sums = {
        k: sum((jnp.sum(x, dtype=zero.dtype) for x in jax.tree.leaves(slots[k])), zero)
        for k in rule.spec.tree_stats.sums
    }
    return next_fields | {"metrics": next_fields.get("metrics", {}) | sums} if sums else next_fields


def _measurements(
    rule: BoundRule, table: LeafTable, hyper: Arrays, last: Arrays, trees: list[Arrays]
) -> Arrays | None:
    """Measures all leaves that have an update; returns `(n,)` each, in the leaves' order."""
    with_params, columns = rule.spec.reads_params, []
    for batch in table.batches:
        stacked = batch in table.stacks
        g, (slots, *_), p = table.inputs(batch, with_params=with_params)
        indices = np.asarray([table.tree_indices[i] for i in batch], np.int32)
        index = indices if stacked else indices[0]
        leaf_trees = stack_trees(trees, batch) if stacked else trees[batch[0]]
        measure = _measure_program(rule, stacked=stacked)
        columns.append(measure(g, slots, p, index, leaf_trees, hyper, last))
    if not columns:
        return None
    # The results are scalars for a leaf, and vectors for a stack.
    if not table.stacks:
        return jax.tree.map(lambda *xs: jnp.stack(xs), *columns)
    # Stacks come first in the batches; this restores the order of the leaves.
    order = np.argsort([i for batch in table.batches for i in batch])
    return jax.tree.map(
        lambda *xs: jnp.concatenate([jnp.atleast_1d(x) for x in xs])[order], *columns
    )


def _measure_program(rule: BoundRule, *, stacked: bool) -> Callable[..., Arrays]:
    """Returns the jitted measurement of a leaf or a stack, which lives as long as the rule."""
    if ("measure", stacked) not in rule.programs:
        rule.programs["measure", stacked] = _make_measure_program(rule, stacked=stacked)
    return rule.programs["measure", stacked]


def _make_measure_program(rule: BoundRule, *, stacked: bool) -> Callable[..., Arrays]:
    def measure(
        g: Array,
        slots: Arrays,
        p: Array | None,
        index: Array,
        trees: Arrays,
        hyper: Arrays,
        last: Arrays,
    ) -> Arrays:
        assert rule.spec.tree_stats.measure is not None
        compute = compute_dtype(g.dtype)
        real = real_dtype(compute)  # scalars stay real where leaves are complex
        arguments = cast(hyper, real) | dict(rule.options)
        rows = Rows(g)
        sharded = sharded_together(rows.values, *rows.of((decode_state(slots), p)))
        trees = {k: sharded_as(x, sharded[0]) for k, x in trees.items()}
        g, slots, p = cast(sharded, compute)
        trees = cast(trees, real)
        if rule.spec.split_complex and jnp.iscomplexobj(g):
            g, slots, p, trees = jax.tree.map(_stack_parts, (g, slots, p, trees))
        context = StepContext(**cast(last, real), **trees, leaf=index, rule=rule.name)
        measured = rule.spec.tree_stats.measure(g, State(**slots), p, context, **arguments)
        return {k: as_state(v) for k, v in measured.items()}

    program: Any = measure
    if stacked:
        program = jax.vmap(measure, in_axes=(0, 0, 0, 0, 0, None, None))
    name = f"{rule.name}_measure_stacked" if stacked else f"{rule.name}_measure"
    program.__name__ = program.__qualname__ = name  # shown in programs and profiles
    return jax.jit(program)


def _stack_parts(x: Array) -> Array:
    """Stacks the real and the imaginary part of an array; a real array is used for both."""
    return jnp.stack([jnp.real(x), jnp.imag(x)] if jnp.iscomplexobj(x) else [x, x])
