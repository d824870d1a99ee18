"""The driver: runs neighbouring rules of a chain as one update, in four stages."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..caching import Interned
from ..leaf.dtypes import split_complex
from ..numerics.precision import cast, cast_like, compute_dtype
from ..numerics.validation import check_loss
from ..protocol import PyTree
from ..rules.bound_rule import ENGINE_FIELDS, BoundRule
from ..rules.context import StepContext
from ..state import KeyPath, State
from ..trees.apply import add_update, replace_leaves
from ..trees.placement import sharded_as, sharded_together
from ..trees.structure import is_absent
from ..trees.varying import varying_like
from .executors import (
    Executor,
    LeafArrays,
    LeafCall,
    LeafSignature,
    Result,
    choose_executor,
)
from .leaf_table import LeafTable
from .measuring import with_sums
from .step_scalars import (
    StepScalars,
    compute_step_scalars,
    computed_once,
    read_scalars,
)
from .whole_tree import run_on_tree

__all__ = ["FusedUpdate", "wrong_state"]

Array = jax.Array
Scalars = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class FusedUpdate(Interned):
    """`update` of a rule, or of neighbouring rules of a chain.

    A leaf goes through all rules in one function, which JAX traces once for each distinct shape and
    dtype. Only the first rule may measure the whole tree, because a later one would need the
    updates of all leaves after the rules before it. A rule that computes the whole tree is not
    fused with others.

    Attributes:
      rules: the rules, in order; as the `update` of a transformation it has one.
      programs: jitted functions, and plans of backends, kept as long as this object.
    """

    rules: tuple[BoundRule, ...]
    programs: dict[Hashable, Any] = dataclasses.field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep the rules alive."""
        return all(rule.is_cacheable for rule in self.rules)

    @property
    def name(self) -> str:
        """Names of the rules, shown in programs and profiles."""
        return "__".join(rule.name for rule in self.rules)

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
        for rule, state in zip(self.rules, states, strict=True):
            _check_arguments(rule, state, params, extra, updates)
        specs = [rule.spec for rule in self.rules]
        table = LeafTable(
            self.rules[0].name,
            updates,
            states,
            params,
            # Updates may lack leaves that have a count or a part of another tree; params have them.
            by_params=any(rule.counts_leaves for rule in self.rules)
            or any(spec.needs_trees and spec.reads_params for spec in specs),
            stack_leaves=any(spec.stack_leaves for spec in specs),
        )
        if table.sparse:
            _check_sparse(self.rules, table)
        # 2. Compute the scalars of this step.
        steps = []
        for rule, state in zip(self.rules, states, strict=True):
            steps.append(compute_step_scalars(rule, table, state, extra))
        steps = computed_once(steps, len(table.active))
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
        for rule, state, step, trees in zip(self.rules, states, steps, slots, strict=True):
            fields = step.next_fields
            if rule.spec.tree_stats.sums:
                fields = with_sums(rule, fields, trees)
            new_states.append(_next_state(state, fields | trees))
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
            # An update without a parameter is returned as an update, and `replace_leaves` then
            # raises with its path.
            add = add_to_params and not is_absent(table.params[first])
            update, slots, param = table.inputs(batch, with_params=reads_params or add)
            call = LeafCall(
                batch=batch,
                stacked=batch in table.stacks,
                tree_indices=tuple([table.tree_indices[i] for i in batch]),
                update=update,
                slots=slots,
                param=param,
                steps=tuple(steps),
                signature=LeafSignature(table.dtypes[first], add, columns),
            )
            by_executor.setdefault(choose_executor(self, call), []).append(call)
        for executor, calls in by_executor.items():
            # One leaf at a time, so that an error can name it; a backend may join its leaves.
            batches = [calls] if executor.joins_leaves else [[call] for call in calls]
            for batch_calls in batches:
                try:
                    results = executor.run(self, batch_calls)
                    for call, result in zip(batch_calls, results, strict=True):
                        table.put(call.batch, *result)
                except Exception as error:
                    table.explain(batch_calls[0].batch, error)
                    raise

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
        u, placed, p = sharded_together(update, slots, param)
        compute = compute_dtype(signature.dtype)
        real = jnp.finfo(compute).dtype
        u, p = cast((u, p), compute)
        param_dtype = param_dtype or getattr(param, "dtype", None)
        new_slots = []
        for rule, state_slots, old, rule_scalars, columns in zip(
            self.rules, slots, placed, scalars, signature.columns, strict=True
        ):
            hyper, context = read_scalars(rule_scalars, columns, real)
            hyper |= rule_scalars.keys
            context |= cast({k: sharded_as(x, u) for k, x in rule_scalars.trees.items()}, real)
            dtypes = {"param_dtype": param_dtype} if rule.spec.reads_params else {}
            ctx = StepContext(**context, **dtypes, leaf=index, rule=rule.name)
            run = _run_on_parts if rule.spec.split_complex and jnp.iscomplexobj(u) else _run_maths
            u, new = run(rule, u, cast(old, compute), p, ctx, hyper | dict(rule.options))
            new_slots.append(
                {k: sharded_as(new[k].astype(x.dtype), x) for k, x in state_slots.items()}
            )
        # A rule that decides the new parameter returns the exact difference to it, which a narrower
        # dtype would round; the rules after it must not round it either.
        if not any(rule.spec.keep_compute_dtype for rule in self.rules):
            u = u.astype(signature.dtype)
        if signature.add_to_params:
            return add_update(param, u), new_slots
        return sharded_as(u, update), new_slots


class UndeclaredParam:
    """The parameter in the maths of a rule that does not declare `needs=("params",)`.

    Any use of it raises. None in its place would give an error of JAX in some rules.
    """

    def __init__(self, rule: str):
        self._rule = rule

    def _refuse(self, *_: object) -> NoReturn:
        # Not a TypeError, which JAX would replace by another one.
        raise ValueError(
            f"{self._rule}: the maths reads the parameter p, which the rule does not declare. "
            'Declare needs=("params",).'
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse
    __matmul__ = __rmatmul__ = __neg__ = __pos__ = __abs__ = __getitem__ = _refuse
    __len__ = __bool__ = __float__ = __int__ = __iter__ = __lt__ = __le__ = __gt__ = _refuse
    __ge__ = __eq__ = __ne__ = _refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        # Compiled code of JAX reads this attribute. Python 3.13 reports other errors on stderr.
        if name == "__jax_array__":
            raise AttributeError(name)
        self._refuse()


def _take_new(_: Array, new: Array, __: KeyPath) -> Array:
    return new


def _run_maths(
    rule: BoundRule,
    g: Array,
    slots: Scalars,
    p: Array | None,
    ctx: StepContext,
    arguments: Mapping[str, object],
) -> tuple[Array, Scalars]:
    """Calls the maths of a rule, and checks its result."""
    undeclared = None if rule.spec.reads_params else UndeclaredParam(rule.name)
    parameter = p if undeclared is None else undeclared
    try:
        result = rule.spec.maths(g, State(**slots), parameter, ctx, **arguments)
    except TypeError as error:
        if undeclared is not None and UndeclaredParam.__name__ in str(error):
            undeclared._refuse()
        raise
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise TypeError(
            f"{rule.name}: the maths must return (update, slots), slots as a dict, got "
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
    slots: Scalars,
    p: Array | None,
    ctx: StepContext,
    arguments: Mapping[str, object],
) -> tuple[Array, Scalars]:
    """Calls the maths of a rule on the real and the imaginary part of a leaf in turn."""

    def maths(g: Array, slots: Scalars, p: Array | None, trees: Scalars) -> tuple[Array, Scalars]:
        part = StepContext(**vars(ctx) | trees)
        return _run_maths(rule, g, slots, p, part, arguments)

    # The trees are split as well, so the maths reads them as an argument and not from ctx.
    trees = {k: getattr(ctx, k) for k in rule.spec.needs_trees}
    return split_complex(maths, g, slots, p, trees)


def _check_arguments(
    rule: BoundRule,
    state: State,
    params: PyTree | None,
    extra: Mapping[str, Any],
    updates: PyTree | None,
) -> None:
    """Raises where an argument that the rule needs is missing, or the state is not its own."""
    for name in (*rule.spec.needs, *rule.spec.needs_trees):
        if (params if name == "params" else extra.get(name)) is None:
            if name in rule.spec.needs_trees and name in extra and not jax.tree.leaves(updates):
                continue  # No leaf has a gradient, and None is this whole tree.
            message = f"{rule.name}: update needs {name}. Call update(updates, state, params"
            if name == "params":
                raise ValueError(f"{message}).")
            raise ValueError(
                f"{message}, {name}=...). Combinators of optax hand extra arguments only to "
                "what interop.optax.to_optax returns."
            )
        if name == "value":
            check_loss(rule.name, extra[name])
    if not isinstance(state, State):
        raise TypeError(wrong_state(rule.name, f"got {type(state).__name__}"))
    fields = state._asdict()
    hyperparams, schedules = fields.get("hyperparams", ()), fields.get("schedules", ())
    names = sorted(hyperparams), sorted(schedules), sorted(fields.keys() - ENGINE_FIELDS)
    pairs = zip(rule.state_names, names, strict=True)
    if any(expected not in (None, got) for expected, got in pairs):
        kinds = "(hyperparameters, schedules, slots)"
        got = f"which has {kinds} = {rule.state_names}, got {names}"
        raise ValueError(wrong_state(rule.name, got))


def _check_sparse(rules: Sequence[BoundRule], table: LeafTable) -> None:
    """Raises where an update is sparse, and a rule has to read all rows."""
    for rule in rules:
        if not rule.acts_on_rows:
            raise ValueError(
                f"{rule.name}: the update at '{table.path(table.sparse[0])}' is sparse, and this "
                "rule has to see all rows. Put densify() in front of it, or pass the todense() of "
                "what is sparse; or train tables by sparse_adam or another rule that acts on rows."
            )


def wrong_state(name: str, got: str) -> str:
    """Returns the message for a state that another transformation made."""
    return (
        f"{name}: state must be what init of the same transformation made, {got}. Restore a "
        "checkpoint with jax.eval_shape(tx.init, params) as its target."
    )


def _next_state(old: State, new: Mapping[str, PyTree]) -> State:
    """Builds the state with new values, each in the dtype of the old one.

    The structure is the same, with one exception: the first update without the gradient of a leaf
    adds `leaf_counts` behind `count`.
    """
    fields: dict[str, PyTree] = {}
    for name, value in old._asdict().items():
        fields[name] = value
        if name in new:
            fields[name] = varying_like(jax.tree.map(cast_like, new[name], value), value)
        if name == "count" and "leaf_counts" in new and "leaf_counts" not in old:
            fields["leaf_counts"] = new["leaf_counts"]
    return State(**fields)
