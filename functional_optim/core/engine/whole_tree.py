"""Stage 3 of an update, for rules that compute all leaves together, as a line search does."""

import inspect
from collections.abc import Callable, Mapping, Sized
from typing import Any

import jax
import jax.numpy as jnp

from ..numerics.precision import cast, compute_dtype
from ..numerics.validation import as_state
from ..protocol import PyTree
from ..rules.bound_rule import BoundRule
from ..rules.context import StepContext
from ..state import State
from ..trees.placement import sharded_as, typed_as
from ..trees.structure import is_absent
from .leaf_table import LeafTable
from .step_scalars import StepScalars

__all__ = ["Objective", "arguments_of", "run_on_tree"]


Array = jax.Array


def run_on_tree(
    rule: BoundRule, table: LeafTable, state: State, step: StepScalars, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Runs a rule on all leaves that have an update, and puts the results into the table.

    Returns:
      The fields of the next state that are not slots.
    """
    compute = [compute_dtype(table.dtypes[i]) for i in table.active]

    # The objective is computed with the sharding of the parameters, so all arrays get that.
    references = [
        jnp.asarray(table.updates[i] if is_absent(p := table.params[i]) else p)
        for i in table.active
    ]

    def wide(column: list[Any]) -> list[Array]:
        """Returns the active leaves of a column, sharded and cast for the computation."""
        active = (column[i] for i in table.active)
        return [
            cast(_sharded_with(jnp.asarray(x), like), dtype)
            for x, like, dtype in zip(active, references, compute, strict=True)
        ]

    spec = rule.spec
    old = [slots for (slots,) in table.slots]  # by leaf; the maths gets them by slot
    slots = {k: wide([s[k] for s in old]) for k in table.slot_trees[0]}
    params = wide(table.params) if spec.reads_params else None
    fields = [k for k in ("scalars", "metrics") if k in state]
    # The maths reads all of these by name from its context.
    values: dict[str, Any] = {"count": state.count} | step.context
    for field in fields:
        values |= state[field]
    if "value_fn" in spec.needs:
        values["value_fn"] = Objective(extra["value_fn"], table, extra)
    values |= {k: as_state(extra[k]) for k in spec.needs if k not in ("params", "value_fn")}
    values |= {k: wide(table.column(extra[k], k)) for k in spec.needs_trees}
    result = spec.maths(
        wide(table.updates),
        State(**slots),
        params,
        StepContext(**values, rule=rule.name),
        **step.hyperparams,
        **dict(rule.options),
    )
    if not isinstance(result, tuple) or len(result) != 3:
        raise TypeError(
            f"{rule.name}: the maths must return (updates, slots, scalars), got "
            f"{type(result).__name__}."
        )
    u, new, scalars = result
    _check_result(rule, u, new, scalars, slots, [name for field in fields for name in state[field]])
    for j, i in enumerate(table.active):
        # Each result gets the dtype and the sharding of the array that it replaces.
        update = u[j] if spec.keep_compute_dtype else u[j].astype(table.dtypes[i])
        update = sharded_as(update, jnp.asarray(table.updates[i]))
        new_slots = {k: typed_as(sharded_as(new[k][j], x), x) for k, x in old[i].items()}
        table.put((i,), update, (new_slots,))
    return {field: {k: scalars[k] for k in state[field]} for field in fields}


def _sharded_with(x: Array, like: Array) -> Array:
    """Shards an array, or each of several along a first axis, as another array of its shape."""
    if x.shape[1:] == like.shape and x.ndim > like.ndim:
        return jax.vmap(lambda one: sharded_as(one, like))(x)
    return sharded_as(x, like)


def _check_result(
    rule: BoundRule,
    u: Sized,
    new: Mapping[str, Sized],
    scalars: Mapping[str, Array],
    slots: Mapping[str, list[Array]],
    names: list[str],
) -> None:
    """Raises ValueError if a slot or scalar is missing in the result, or a leaf is."""
    for what, returned, expected in (("slots", new, slots), ("scalars", scalars, names)):
        missing = [k for k in expected if k not in returned]
        if missing:
            raise ValueError(
                f"{rule.name}: the maths returned the {what} {sorted(returned)}, and not "
                f"{missing[0]!r}, which the rule keeps. Return the next value of each."
            )
    # A rule without slots is trusted with its number of updates: nothing else has that number.
    n = len(next(iter(slots.values()), u))
    for what, x in {"the updates": u, **{f"the slot {k!r}": new[k] for k in slots}}.items():
        if len(x) != n:
            raise ValueError(
                f"{rule.name}: the maths returned {len(x)} arrays for {what}, where {n} leaves "
                "have an update. Return a list with one for each."
            )


class Objective:
    """`value_fn` as a function of the leaves that have an update, in the computation's precision.

    Its arguments are cast to the dtypes of the parameters, as `apply_updates` casts them. So it
    computes the value at the parameters that the step leads to.
    """

    def __init__(self, value_fn: Callable[..., Any], leaves: LeafTable, extra: Mapping[str, Any]):
        self._value_fn, self._leaves = value_fn, leaves
        self._extra = arguments_of(value_fn, extra)

    def __call__(self, xs: list[Array]) -> Array:
        """Computes the value `()` at other values of those leaves."""
        value = jnp.asarray(self._value_fn(self.whole(xs, self._leaves.params), **self._extra))
        if value.shape or jnp.iscomplexobj(value):
            raise TypeError(
                f"{self._leaves.name}: the function must return a real scalar, got "
                f"{value.dtype} of shape {value.shape}. Return the mean of the losses, for example."
            )
        return as_state(value)

    def whole(self, xs: list[Array], others: list[Any]) -> PyTree:
        """Returns the tree with these values, in the parameters' dtypes, and the other leaves."""
        leaves, result = self._leaves, list(others)
        for i, x in zip(leaves.active, xs, strict=True):
            result[i] = x.astype(leaves.params[i].dtype)
        return leaves.treedef.unflatten(result)

    def value_and_grad(self, xs: list[Array]) -> tuple[Array, list[Array]]:
        """Computes the value, and its gradient as `jax.grad` does, in at least float32."""
        value, grads = jax.value_and_grad(self)(xs)
        return value, [cast(g, compute_dtype(g.dtype)) for g in grads]


def arguments_of(value_fn: Callable[..., Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the extra arguments that a function takes by name."""
    # The first argument is the parameters.
    parameters = list(inspect.signature(value_fn).parameters.values())[1:]
    names = {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}
    return {k: v for k, v in extra.items() if k in names}
