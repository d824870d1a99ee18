"""The engine: lifts rules, maths on one array, to transformations of trees.

This is the one place that loops over leaves, skips what has no gradient, advances the
clocks, and keeps hyperparameters in the state.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .interning import Interned
from .keys import key_at
from .leaf import by_parts, cast, cast_like
from .leaves import ENGINE_FIELDS, Leaves
from .numbers import Interval, as_state
from .precision import compute_dtype, hyper_dtype, safe_increment
from .protocol import PyTree
from .rows import Rows
from .state import State
from .unstack import unstack

__all__ = ["Now", "Pass", "Rule", "RuleUpdate", "next_state", "wrong_state"]

Array = jax.Array
Scalars = dict[str, Array]


class Now:
    """Scalars of this step and this leaf, by name, as a rule reads them.

    What the rule's clock, its `combine` and its `requires` give; without a clock `t`, the
    number of the leaf's updates with the present one (1, 2, ...), where the rule has slots;
    and `leaf`, the number of the leaf (int32), to tell the random numbers of two apart.
    """

    def __init__(self, context: "Context", row: Array | None, own: Mapping[str, Any], dtype: Any):
        self._context, self._row, self._own, self._dtype = context, row, own, dtype

    def __getattr__(self, name: str) -> Any:
        context = self._context
        if name in context.whole:
            return cast(context.whole[name], self._dtype)
        if name in self._own:
            return cast(self._own[name], self._dtype)
        if name in context.columns.names:
            return cast(context.columns.read(name, self._row), self._dtype)
        known = sorted({*context.columns.names, *context.whole, *self._own})
        raise AttributeError(f"the rule declares no {name!r}; it has {known}.")


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """A rule as its author declared it; `leaf_rule` says what each part is."""

    name: str
    module: str
    leaf: Callable[..., Any]
    signature: inspect.Signature
    slots: Callable[..., Mapping[str, Array | None]] | None = None
    clock: Callable[..., Any] | None = None
    memory: tuple[str, ...] | Callable[..., tuple[str, ...]] = ()
    measure: Callable[..., Mapping[str, Array]] | None = None
    combine: Callable[..., Mapping[str, Array]] | None = None
    metrics: tuple[str, ...] = ()
    scalars: Callable[..., Mapping[str, Any]] | None = None
    static: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    slot_dtypes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bounds: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    requires: tuple[str, ...] = ()
    requires_trees: tuple[str, ...] = ()
    exact: bool = False
    parts: bool = True
    rows: bool | Callable[..., bool] = False
    check: Callable[[Mapping[str, Any]], str | None] | None = None

    def make_update(self, *fields: Any) -> "RuleUpdate":
        """The `update` of these options, schedules and dtypes."""
        return RuleUpdate.of(self, *fields)

    @property
    def counts_alone(self) -> bool:
        """Whether it has a clock and no slots: the parameters then say which leaf is which."""
        return self.clock is not None and self.slots is None and "params" in self.requires

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_rule, (self.module, self.name)


def _find_rule(module: str, name: str) -> Rule:
    return getattr(importlib.import_module(module), name).rule


@dataclasses.dataclass(frozen=True)
class RuleUpdate(Interned):
    """`update` of a rule: all that shapes the program, and no number."""

    rule: Rule
    options: tuple[tuple[str, Any], ...]
    schedules: tuple[tuple[str, Callable[..., Any]], ...]
    dtypes: tuple[tuple[str, Any], ...]
    generators: tuple[tuple[str, str | None], ...] = ()
    lasting = True
    by_leaf = True

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates of a tree; unknown extra arguments are for other links."""
        updates, (state,) = self._alone(updates, (state,), params, extra)
        return updates, state

    @functools.cached_property
    def _alone(self) -> "Pass":
        return Pass.of((self,))

    def check_given(self, state: State, params: PyTree | None, extra: Mapping[str, Any]) -> None:
        """Raises where the rule lacks what it requires, or the state is not one of init."""
        for name in (*self.rule.requires, *self.rule.requires_trees):
            if (params if name == "params" else extra.get(name)) is None:
                message = (
                    f"{self.rule.name}: update needs {name}. Call update(updates, state, params"
                )
                if name == "params":
                    raise ValueError(f"{message}).")
                raise ValueError(
                    f"{message}, {name}=...). Combinators of optax hand extra arguments only to "
                    "what interop.optax.to_optax returns."
                )
        if not isinstance(state, State):
            raise TypeError(wrong_state(self.rule.name, f"got {type(state).__name__}"))
        fields = state._asdict()
        kept = [sorted(fields.get(k, ())) for k in ("hyperparams", "schedules")]
        kept.append(sorted(k for k in fields if k not in ENGINE_FIELDS))
        if any(own not in (None, had) for own, had in zip(self._parts, kept, strict=True)):
            names = "(hyperparameters, schedules, slots)"
            got = f"which has {names} = {self._parts}, got {kept}"
            raise ValueError(wrong_state(self.rule.name, got))

    def check_sparse(self, leaves: Leaves) -> None:
        """Raises where an update is sparse, and the rule has to see all rows."""
        if leaves.sparse and not self._acts_on_rows:
            raise ValueError(
                f"{self.rule.name}: the update at '{leaves.path(leaves.sparse[0])}' is sparse, and "
                "this rule has to see all rows. Put densify() in front of it, or pass the "
                "todense() of what is sparse."
            )

    @functools.cached_property
    def _acts_on_rows(self) -> bool:
        declared = self.rule.rows
        if not callable(declared):
            return declared
        fixed, numbers = self._stand_ins(declared)
        return declared(**fixed, **numbers)

    @functools.cached_property
    def _parts(self) -> tuple[list[str], list[str], list[str] | None]:
        """Names of the hyperparameters, of those that follow a schedule, and of the slots."""
        rule = self.rule
        other = {*rule.initial, *rule.keys, *rule.slot_dtypes, "state_dtype", *dict(self.options)}
        numbers = sorted(k for k in rule.signature.parameters if k not in other)
        return numbers, sorted(name for name, _ in self.schedules), self._slot_names()

    def _slot_names(self) -> list[str] | None:
        """Names of the slots, of a scalar that stands in for a parameter; None if it cannot."""
        if self.rule.slots is None:
            return []
        fixed, numbers = self._stand_ins(self.rule.slots, skip=1)
        make = functools.partial(self.rule.slots, **fixed)
        try:
            found = jax.eval_shape(make, _stand_in(), **numbers)
        except Exception:  # the maths of a matrix, say
            return None
        return sorted(found)

    @functools.cached_property
    def memory(self) -> tuple[str, ...]:
        """Names of the scalars that the clock keeps for each leaf, with these options."""
        declared = self.rule.memory
        if not callable(declared):
            return declared
        fixed, numbers = self._stand_ins(declared)
        return declared(**fixed, **numbers)

    def _stand_ins(
        self, function: Callable[..., Any], skip: int = 0
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of the arguments of a function, after some: options, and stand-ins for numbers."""
        options = dict(self.options)
        wanted = list(inspect.signature(function).parameters)[skip:]
        fixed = {k: options[k] for k in wanted if k in options}
        return fixed, {k: _stand_in() for k in wanted if k not in options}

    def in_force(self, state: State) -> Scalars:
        """The hyperparameters of this step: as they stand, or by their schedules."""
        values = dict(state.hyperparams)
        for name, evaluate in self.schedules:
            values[name] = as_state(evaluate(state.count, state.schedules[name]))
        return values

    def randomness(self, state: State) -> dict[str, Array]:
        """The keys of this step, by name, and what `now` has where there are any."""
        keys = {k: key_at(state.keys[k], name, state.count) for k, name in self.generators}
        return keys | {"count": state.count} if keys else {}

    def tick(
        self, leaves: Leaves, state: State, hyper: Scalars
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Scalars of time for all leaves, and the clocks kept; at rest without a gradient."""
        if "steps" not in state:
            return {}, {}
        n = len(leaves.updates)
        if n != state.steps.shape[-1]:
            raise ValueError(
                f"{self.rule.name}: the state was made for {state.steps.shape[-1]} parameters, "
                f"got updates for {n}. Call init with the parameters of this run."
            )
        moved = np.isin(np.arange(n), leaves.active)
        steps = jnp.where(moved, safe_increment(state.steps), state.steps)
        # At step 0 clocks divide by 0: a leaf that has not started counts as one that starts.
        t = jnp.maximum(steps, 1).astype(hyper_dtype())
        if self.rule.clock is None:
            return {"t": t}, {"steps": steps}
        last = dict(state.memory) if self.memory else {}
        scalars, memory = self.rule.clock(t, last, **hyper, **dict(self.options))
        kept = {k: jnp.where(moved, memory[k], last[k]) for k in self.memory}
        return dict(scalars), {"steps": steps} | ({"memory": kept} if kept else {})

    def measure(
        self, leaves: Leaves, state: State, hyper: Scalars, given: Scalars, trees: list[Scalars]
    ) -> dict[str, Scalars]:
        """Quantities of the whole tree, out of the leaves that have a gradient.

        Returns:
          What the state keeps of them: its `scalars` and its `metrics`.
        """
        rule = self.rule
        if rule.combine is None:
            return {}
        fields = [k for k in ("scalars", "metrics") if k in state]
        last = {name: value for k in fields for name, value in state[k].items()}
        context = Context.of(Columns((), None), last | given, hyper)
        found = [
            self._jitted_measure(
                leaves.updates[i],
                leaves.slots[i][0],
                leaves.params[i] if "params" in rule.requires else None,
                np.int32(leaves.numbers[i]),
                trees[i],
                context,
            )
            for i in (leaves.active if rule.measure is not None else ())
        ]
        stats = jax.tree.map(lambda *xs: jnp.stack(xs), *found) if found else None
        whole = rule.combine(stats, last | given, **hyper, **dict(self.options))
        return {k: {name: as_state(whole[name]) for name in state[k]} for k in fields}

    @functools.cached_property
    def _jitted_measure(self) -> Callable[..., Any]:
        return _jit(self._on_leaf_measure, f"{self.rule.name}_measure")

    def _on_leaf_measure(
        self,
        g: Array,
        slots: Scalars,
        p: Array | None,
        i: Array,
        own: Scalars,
        context: "Context",
    ) -> Scalars:
        assert self.rule.measure is not None
        compute = compute_dtype(g.dtype)
        real = jnp.finfo(compute).dtype
        now = Now(context, None, own | {"leaf": i}, real)
        arguments = context.hyper(real) | dict(self.options)
        rows = Rows(g)
        g, slots, p = cast((rows.values, *rows.of((slots, p))), compute)
        found = self.rule.measure(g, State(**slots), p, now, **arguments)
        return {k: as_state(v) for k, v in found.items()}

    def on_leaf(
        self, g: Array, slots: Scalars, p: Array | None, now: Now, hyper: Scalars
    ) -> tuple[Array, Scalars]:
        """The maths on one leaf, all arguments in the precision of the computation."""
        arguments = hyper | dict(self.options)

        def maths(g: Array, slots: Scalars, p: Array | None) -> Any:
            return self.rule.leaf(g, State(**slots), p, now, **arguments)

        p = p if "params" in self.rule.requires else None
        if self.rule.parts:
            return by_parts(maths, g, slots, p)
        u, kept = maths(g, slots, p)
        return u, dict(kept)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column of a leaf's row of clock scalars has what name."""

    names: tuple[str, ...]
    treedef: Any

    def read(self, name: str, row: Array | None) -> Any:
        """What the clock called `name`, for the leaf whose row this is."""
        assert row is not None
        places = self.treedef.unflatten(range(self.treedef.num_leaves))[name]
        return jax.tree.map(functools.partial(_item, row), places)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["whole", "numbers"],
    meta_fields=["columns", "names"],
)
@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule reads besides arrays, the same for all leaves.

    The hyperparameters travel as one vector: each argument more of a leaf's function costs
    time to trace and to lower, for every leaf.
    """

    columns: Columns
    whole: Scalars  # of the whole tree, and extra arguments: ()
    names: tuple[str, ...]
    numbers: Array | None  # the hyperparameters in force, by these names

    @classmethod
    def of(cls, columns: Columns, whole: Scalars, hyper: Scalars) -> "Context":
        """Packs the hyperparameters."""
        numbers = jnp.stack(list(hyper.values())) if hyper else None
        return cls(columns, whole, tuple(hyper), numbers)

    def hyper(self, dtype: Any) -> Scalars:
        """The hyperparameters by name, in the precision of the computation."""
        if self.numbers is None:
            return {}
        numbers = cast(self.numbers, dtype)
        return {k: _item(numbers, j) for j, k in enumerate(self.names)}


def _item(vector: Array, j: int) -> Array:
    """An element; by lax, which traces in a third of the time of indexing."""
    return jax.lax.squeeze(jax.lax.slice(vector, (j,), (j + 1,)), (0,))


class _Prepared(NamedTuple):
    """A rule at one step."""

    context: Context
    rows: Sequence[Array | None]  # per leaf: its clock's scalars, (k,)
    trees: list[Scalars]  # per leaf: what the extra trees have there
    kept: dict[str, Any]  # fields of the next state


@dataclasses.dataclass(frozen=True)
class Pass(Interned):
    """Rules that go over the leaves together.

    The rules of one pass are applied to a leaf one after the other, in the precision of the
    computation, within one jitted function, which JAX traces once for each distinct shape
    and dtype. Only the first may measure the whole tree: the others would have to wait for
    its updates of all leaves.
    """

    rules: tuple[RuleUpdate, ...]

    def __call__(
        self,
        updates: PyTree,
        states: Sequence[State],
        params: PyTree | None,
        extra: Mapping[str, Any],
    ) -> tuple[PyTree, list[State]]:
        """Transforms the updates; returns them with the rules' next states."""
        for rule, state in zip(self.rules, states, strict=True):
            rule.check_given(state, params, extra)
        leaves = Leaves(self.rules[0].rule.name, updates, states, params)
        for rule in self.rules:
            rule.check_sparse(leaves)
        prepared = [
            self._prepare(rule, leaves, state, extra)
            for rule, state in zip(self.rules, states, strict=True)
        ]
        contexts = tuple(p.context for p in prepared)
        needs_params = any("params" in rule.rule.requires for rule in self.rules)
        for i in leaves.active:
            own = tuple((p.rows[i], p.trees[i]) for p in prepared)
            p = leaves.params[i] if needs_params else None
            arguments = (
                leaves.updates[i],
                leaves.slots[i],
                p,
                np.int32(leaves.numbers[i]),
                own,
                contexts,
            )
            try:
                result = self._jitted(*arguments, leaves.dtypes[i])
            except Exception as error:
                leaves.explain(i, error)
                raise
            leaves.put(i, *result)
        outputs, slots = leaves.rebuild()
        kept = [next_state(s, p.kept | v) for s, p, v in zip(states, prepared, slots, strict=True)]
        return outputs, kept

    @staticmethod
    def _prepare(
        rule: RuleUpdate, leaves: Leaves, state: State, extra: Mapping[str, Any]
    ) -> _Prepared:
        """What a rule reads at this step, and what of it the state keeps."""
        declared, hyper, n = rule.rule, rule.in_force(state), len(leaves.updates)
        columns = {k: leaves.column(extra[k], k) for k in declared.requires_trees}
        trees = [{k: column[i] for k, column in columns.items()} for i in range(n)]
        given = {k: jnp.asarray(extra[k]) for k in declared.requires if k != "params"}
        clock, kept = rule.tick(leaves, state, hyper)
        measured = rule.measure(leaves, state, hyper, given, trees)
        whole = given | {name: v for values in measured.values() for name, v in values.items()}
        whole |= rule.randomness(state)
        kept |= measured | {"count": safe_increment(state.count), "hyperparams": hyper}
        flat, treedef = jax.tree.flatten(clock)
        rows: Sequence[Array | None] = [None] * n
        if flat and n:
            matrix = jnp.stack([jnp.broadcast_to(as_state(v), (n,)) for v in flat], axis=1)
            rows = unstack(matrix)
        context = Context.of(Columns(tuple(clock), treedef), whole, hyper)
        return _Prepared(context, rows, trees, kept)

    @functools.cached_property
    def _jitted(self) -> Callable[..., Any]:
        return _jit(self._on_leaf, "__".join(r.rule.name for r in self.rules), static_argnums=6)

    def _on_leaf(
        self,
        g: Array,
        slots: tuple[Scalars, ...],
        p: Array | None,
        i: Array,
        own: tuple[tuple[Array | None, Scalars], ...],
        contexts: tuple[Context, ...],
        dtype: Any,
    ) -> tuple[Array, list[Scalars]]:
        """All rules on the leaf number `i`, whose update is to have `dtype`."""
        compute = compute_dtype(dtype)
        real = jnp.finfo(compute).dtype
        rows = Rows(g)
        u, p = cast((rows.values, rows.of(p)), compute)
        kept = []
        for rule, old, (row, trees), context in zip(self.rules, slots, own, contexts, strict=True):
            now = Now(context, row, trees | {"leaf": i}, real)
            hyper = context.hyper(real)
            for name, _ in rule.generators:
                hyper[name] = jax.random.fold_in(context.whole[name], i)
            u, new = rule.on_leaf(u, cast(rows.of(old), compute), p, now, hyper)
            kept.append({k: rows.put(old[k], cast_like(new[k], old[k])) for k in old})
        # The exact difference to a narrower parameter would not survive its dtype, and what
        # follows the rule that made it (an average, say) is to see it too.
        exact = any(rule.rule.exact for rule in self.rules)
        return rows.update(u if exact else u.astype(dtype)), kept


def wrong_state(link: str, got: str) -> str:
    """The message for a state that another transformation made."""
    return (
        f"{link}: state must be what init of the same transformation made, {got}. Restore a "
        "checkpoint with jax.eval_shape(tx.init, params) as its target."
    )


def _stand_in() -> jax.ShapeDtypeStruct:
    """What stands for a number whose value is not asked."""
    return jax.ShapeDtypeStruct((), hyper_dtype())


def next_state(old: State, new: Mapping[str, Any]) -> State:
    """The state with new values, each in the dtype that it had: what init made is law."""
    fields = {k: new.get(k, v) for k, v in old._asdict().items()}
    return jax.tree.map(
        lambda a, b: a if a.dtype == b.dtype else a.astype(b.dtype), State(**fields), old
    )


def _jit(method: Callable[..., Any], name: str, **options: Any) -> Callable[..., Any]:
    """Jits a method under a name that shows in programs and profiles."""

    def function(*args: Any) -> Any:
        return method(*args)

    function.__name__ = function.__qualname__ = name
    return jax.jit(function, **options)
