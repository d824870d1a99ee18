"""The driver: runs neighbouring rules of a chain as one update, in four stages."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ..adapter import check_order, check_state, wrong_state
from ..caching import Interned
from ..numerics.validation import check_loss
from ..protocol import PyTree
from ..rules.bound_rule import ENGINE_FIELDS, BoundRule
from ..state import KeyPath, State
from ..trees.apply import add_update, replace_leaves
from ..trees.placement import typed_as
from .executors import (
    Executor,
    LeafCall,
    LeafFunction,
    LeafSignature,
    choose_executor,
)
from .leaf_table import LeafTable
from .measuring import with_sums
from .step_scalars import (
    StepScalars,
    compute_once,
    compute_step_scalars,
)
from .whole_tree import run_on_tree

__all__ = ["FusedUpdate"]

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class FusedUpdate(Interned):
    """`update` of a rule, or of neighbouring rules of a chain.

    A leaf goes through all rules in one function, which JAX traces once for each distinct shape and
    dtype. Only the first rule may measure the whole tree, because a later one would need the
    updates of all leaves after the rules before it. A rule that computes the whole tree is not
    fused with others.

    Attributes:
      rules: the rules, in order; as the `update` of a transformation it has one.
      leaf_function: their maths on one leaf, and its programs.
    """

    rules: tuple[BoundRule, ...]
    leaf_function: LeafFunction = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        name = "__".join(rule.name for rule in self.rules)
        object.__setattr__(self, "leaf_function", LeafFunction(name, self.rules))

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep the rules alive."""
        return all(rule.is_cacheable for rule in self.rules)

    def __repr__(self) -> str:
        return f"<update of {', '.join(rule.name for rule in self.rules)}>"

    def __call__(
        self,
        updates: PyTree,
        state: State,
        params: PyTree | None = None,
        *,
        add_to_params: bool = False,
        **extra: Any,
    ) -> tuple[PyTree, State]:
        """Transforms the updates of a tree by one rule; unknown extra arguments are ignored."""
        outputs, (state,) = self.run(updates, (state,), params, extra, add_to_params=add_to_params)
        return outputs, state

    def run(
        self,
        updates: PyTree,
        states: Sequence[State],
        params: PyTree | None,
        extra: Mapping[str, Any],
        *,
        add_to_params: bool = False,
    ) -> tuple[PyTree, list[State]]:
        """Transforms the updates; returns them, or the new parameters, and the next states.

        With `add_to_params` the function of a leaf computes the new parameter, so that the update
        is not written to memory.
        """
        # 1. Align updates, parameters and states leaf by leaf, and check them.
        fields = [
            _checked_fields(rule, state, params, extra, updates)
            for rule, state in zip(self.rules, states, strict=True)
        ]
        specs = [rule.spec for rule in self.rules]
        table = LeafTable(
            self.rules[0].name,
            updates,
            fields,
            params,
            # A leaf without an update may still have a count, or a part of an extra tree.
            by_params=any(rule.counts_leaves for rule in self.rules)
            or any(spec.needs_trees and spec.reads_params for spec in specs),
            needs_params=add_to_params or any(spec.reads_params for spec in specs),
            stack_leaves=any(spec.stack_leaves for spec in specs),
        )
        if table.sparse:
            _check_sparse(self.rules, table)
        # 2. Compute the scalars of this step.
        steps = []
        for rule, old in zip(self.rules, fields, strict=True):
            steps.append(compute_step_scalars(rule, table, old, extra))
        steps = compute_once(self.rules, steps, readers=len(table.active))
        # 3. Let an executor run the rules on each leaf, or one rule on the whole tree.
        whole_tree = specs[0].whole_tree
        if whole_tree:
            (rule,), (step,) = self.rules, steps
            step.next_fields.update(run_on_tree(rule, table, states[0], step, extra))
        else:
            self._run_on_leaves(table, steps, add_to_params=add_to_params)
        # 4. Put the results and the next states together.
        outputs, slots = table.rebuild()
        new_states = []
        for rule, old, step, trees in zip(self.rules, fields, steps, slots, strict=True):
            new = step.next_fields
            if rule.spec.tree_stats.sums:
                new = with_sums(rule, new, trees)
            new_states.append(_next_state(old, new, trees))
        if add_to_params:
            add = add_update if whole_tree else _take_new
            outputs = replace_leaves(params, outputs, add)
        return outputs, new_states

    def _run_on_leaves(
        self, table: LeafTable, steps: list[StepScalars], *, add_to_params: bool
    ) -> None:
        reads_params = any(rule.spec.reads_params for rule in self.rules)
        # Calls are grouped first: a backend may run all its leaves in one kernel.
        columns = tuple([step.columns for step in steps])
        by_executor: dict[Executor, list[LeafCall]] = {}
        for batch in table.batches:
            first = batch[0]
            update, slots, param = table.inputs(batch, with_params=reads_params or add_to_params)
            call = LeafCall(
                batch=batch,
                stacked=batch in table.stacks,
                tree_indices=tuple([table.tree_indices[i] for i in batch]),
                update=update,
                slots=slots,
                param=param,
                steps=tuple(steps),
                signature=LeafSignature(table.dtypes[first], add_to_params, columns),
            )
            by_executor.setdefault(choose_executor(self.leaf_function, call), []).append(call)
        for executor, calls in by_executor.items():
            # XLA gets one leaf per call, so that an error names it; a backend gets all its leaves.
            batches = [calls] if executor.joins_leaves else [[call] for call in calls]
            for batch_calls in batches:
                try:
                    results = executor.run(self.leaf_function, batch_calls)
                    for call, result in zip(batch_calls, results, strict=True):
                        table.put(call.batch, *result)
                except Exception as error:
                    table.explain(batch_calls[0].batch, error)
                    raise


def _take_new(_: Array, new: Array, __: KeyPath) -> Array:
    # The leaf's function has added the update already.
    return new


def _checked_fields(
    rule: BoundRule,
    state: State,
    params: PyTree | None,
    extra: Mapping[str, Any],
    updates: PyTree | None,
) -> dict[str, PyTree]:
    """Returns the fields of a state, after checking what `update` was called with.

    Raises:
      ValueError: an argument that the rule needs is missing, or another rule made the state.
    """
    for name in (*rule.spec.needs, *rule.spec.needs_trees):
        if (params if name == "params" else extra.get(name)) is None:
            if name in rule.spec.needs_trees and name in extra and not jax.tree.leaves(updates):
                continue  # no leaf has a gradient, and None is a tree without leaves
            check_order(rule.name, updates, state, params)
            message = f"{rule.name}: update needs {name}. Call update(updates, state, params"
            if name == "params":
                raise ValueError(f"{message}).")
            raise ValueError(
                f"{message}, {name}=...). Combinators of optax pass extra arguments only to "
                "transformations that interop.optax.to_optax returns."
            )
        if name == "value":
            check_loss(rule.name, extra[name])
    if not isinstance(state, State):  # asked here first, so that a valid state costs no call
        check_state(rule.name, updates, state, params)
    fields = state._asdict()
    hyperparams, schedules = fields.get("hyperparams", ()), fields.get("schedules", ())
    names = sorted(hyperparams), sorted(schedules), sorted(fields.keys() - ENGINE_FIELDS)
    # None is expected where the names of the slots are unknown before `init`.
    pairs = zip(rule.state_names, names, strict=True)
    if any(expected not in (None, got) for expected, got in pairs):
        kinds = "(hyperparameters, schedules, slots)"
        got = f"which has {kinds} = {rule.state_names}, got {names}"
        raise ValueError(wrong_state(rule.name, got))
    for name, x in {"count": fields.get("count"), **hyperparams}.items():
        shape = getattr(x, "shape", None)
        if shape != ():
            got = f"{x!r}" if shape is None else f"an array of shape {shape}"
            raise ValueError(
                f"{rule.name}: {name} in the state must be an array without dimensions, got {got}. "
                "Set hyperparameters by set_hyperparams. If this is the state of several runs, "
                "call jax.vmap(tx.update)."
            )
    return fields


def _check_sparse(rules: Sequence[BoundRule], table: LeafTable) -> None:
    """Raises ValueError if an update is sparse, and a rule has to read all rows."""
    for rule in rules:
        if not rule.acts_on_rows:
            raise ValueError(
                f"{rule.name}: the update at '{table.path(table.sparse[0])}' is sparse, and this "
                "rule has to see all rows. Put densify() in front of it, or pass update.todense(), "
                "or train tables by sparse_adam or another rule that acts on rows."
            )


def _next_state(
    old: Mapping[str, PyTree], new: Mapping[str, PyTree], slots: Mapping[str, PyTree]
) -> State:
    """Builds the state with the new slots, and other new values in the types of the old ones.

    The structure is the same, with one exception: the first update that lacks the gradient of a
    leaf adds `leaf_counts` after `count`.
    """
    fields: dict[str, PyTree] = {}
    for name, value in old.items():
        fields[name] = slots.get(name, value)
        if name in new:
            fields[name] = jax.tree.map(typed_as, new[name], value)
        if name == "count" and "leaf_counts" in new and "leaf_counts" not in old:
            fields["leaf_counts"] = new["leaf_counts"]
    return State(**fields)
