"""The engine: lifts rules, maths on one array, to transformations of trees.

Here a rule advances its clocks, keeps its hyperparameters in the state, and measures the tree;
`passes` loops over the leaves, and skips what has no gradient.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .context import Columns, Context, Now
from .interning import Interned
from .keys import key_at
from .law import wrong_state
from .leaf import by_parts, cast
from .leaves import ENGINE_FIELDS, Leaves
from .numbers import Interval, as_state
from .packing import joined
from .passes import Pass, jit_as
from .precision import compute_dtype, hyper_dtype, safe_increment
from .protocol import PyTree
from .rows import Rows
from .state import State
from .stored import decode_state

__all__ = ["Rule", "RuleUpdate"]

Array = jax.Array
Scalars = dict[str, Array]


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
    by_leaf = True

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
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lasting = True
    by_leaf = True

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates of a tree; unknown extra arguments are for other links."""
        updates, (state,) = self._alone(updates, (state,), params, extra)
        return updates, state

    def apply(
        self, updates: PyTree, state: State, params: PyTree, extra: dict[str, Any]
    ) -> tuple[PyTree, State]:
        """Transforms the updates, and adds them; returns parameters and the next state."""
        params, (state,) = self._alone.apply(updates, (state,), params, extra)
        return params, state

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
        groups = dict(self.groups)
        names = [
            [f"{k}.{label}" for label in groups[k]] if k in groups else [k]
            for k in rule.signature.parameters
            if k not in other
        ]
        numbers = sorted(name for own in names for name in own)
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

    def by_leaf_numbers(
        self, leaves: Leaves, state: State, hyper: Scalars
    ) -> tuple[Scalars, Scalars]:
        """The hyperparameters that all leaves share, and per leaf `(n,)` those by label."""
        shared, own = dict(hyper), {}
        for name, labels in self.groups:
            values = jnp.stack([shared.pop(f"{name}.{label}") for label in labels])
            self.check_number(leaves, state.groups[name])
            own[name] = values[state.groups[name]]
        return shared, own

    def check_number(self, leaves: Leaves, kept: Array) -> None:
        """Raises where the state has another number of leaves than the updates."""
        if len(leaves.updates) != kept.shape[-1]:
            raise ValueError(
                f"{self.rule.name}: the state was made for {kept.shape[-1]} parameters, got "
                f"updates for {len(leaves.updates)}. Call init with the parameters of this run, "
                "and update with params where some have no update."
            )

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
        self.check_number(leaves, state.steps)
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
        context = Context.of(Columns((), (), None), last | given, hyper)
        stats = None if rule.measure is None else self._measured(leaves, trees, context)
        whole = rule.combine(stats, last | given, **hyper, **dict(self.options))
        return {k: {name: as_state(whole[name]) for name in state[k]} for k in fields}

    def _measured(self, leaves: Leaves, trees: list[Scalars], context: "Context") -> Scalars | None:
        """What is measured, for all leaves that have an update, in their order."""
        with_params, numbers = "params" in self.rule.requires, np.asarray(leaves.numbers, np.int32)
        found = [
            self._jitted_measure(
                leaves.updates[i],
                leaves.slots[i][0],
                leaves.params[i] if with_params else None,
                numbers[i],
                trees[i],
                context,
            )
            for i in leaves.singles
        ]
        columns = [jax.tree.map(lambda *xs: jnp.stack(xs), *found)] if found else []
        for group in leaves.groups:
            g, (slots, *_), p = leaves.together(group, with_params=with_params)
            of = numbers[list(group)]
            columns.append(self._mapped_measure(g, slots, p, of, joined(trees, group), context))
        if len(columns) < 2:
            return columns[0] if columns else None
        order = np.argsort([*leaves.singles, *(i for group in leaves.groups for i in group)])
        return jax.tree.map(lambda *xs: jnp.concatenate(xs)[order], *columns)

    @functools.cached_property
    def _jitted_measure(self) -> Callable[..., Any]:
        return jit_as(self._on_leaf_measure, f"{self.rule.name}_measure")

    @functools.cached_property
    def _mapped_measure(self) -> Callable[..., Any]:
        mapped = jax.vmap(self._on_leaf_measure, in_axes=(0, 0, 0, 0, 0, None))
        return jit_as(mapped, f"{self.rule.name}_measure_together")

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
        g, slots, p = cast((rows.values, *rows.of((decode_state(slots), p))), compute)
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


def _stand_in() -> jax.ShapeDtypeStruct:
    """What stands for a number whose value is not asked."""
    return jax.ShapeDtypeStruct((), hyper_dtype())
