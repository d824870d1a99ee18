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
from .leaf import by_parts, cast
from .leaves import Leaves
from .numbers import Interval, as_state
from .precision import compute_dtype, hyper_dtype, safe_increment
from .protocol import PyTree
from .state import State

__all__ = ["Now", "Pass", "Rule", "RuleUpdate"]

Array = jax.Array
Scalars = dict[str, Array]


class Now:
    """Scalars of this step and this leaf, by name, as a rule reads them.

    Always `t`, the number of this leaf's updates with the present one (1, 2, ...) where the
    rule has slots; and whatever the rule's clock, measure and `requires` add. Each is taken
    out of its vector when it is read: most rules read few.
    """

    def __init__(self, context: "Context", i: Array, dtype: Any):
        self._context, self._i, self._dtype = context, i, dtype

    def __getattr__(self, name: str) -> Any:
        if name in self._context.whole:
            return cast(self._context.whole[name], self._dtype)
        if name in self._context.clock:
            return cast(jax.tree.map(self._here, self._context.clock[name]), self._dtype)
        known = sorted({*self._context.clock, *self._context.whole})
        raise AttributeError(f"the rule declares no {name!r}; it has {known}.")

    def _here(self, vector: Array) -> Array:
        return jax.lax.squeeze(jax.lax.dynamic_slice(vector, (self._i,), (1,)), (0,))


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """A rule as its author declared it; `leaf_rule` says what each part is."""

    name: str
    module: str
    leaf: Callable[..., Any]
    signature: inspect.Signature
    slots: Callable[..., Mapping[str, Array]] | None
    clock: Callable[..., Any] | None
    memory: tuple[str, ...]
    measure: Callable[..., Mapping[str, Array]] | None
    combine: Callable[..., Mapping[str, Array]] | None
    metrics: tuple[str, ...]
    static: tuple[str, ...]
    optional: tuple[str, ...]
    initial: tuple[str, ...]
    slot_dtypes: Mapping[str, str]
    bounds: Mapping[str, Interval]
    requires: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], str | None] | None

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
        for name in self.rule.requires:
            if (params if name == "params" else extra.get(name)) is None:
                call = "params" if name == "params" else f"params, {name}=..."
                raise ValueError(
                    f"{self.rule.name}: update needs {name}. Call update(updates, state, {call})."
                )
        if not isinstance(state, State):
            raise TypeError(wrong_state(self.rule.name, f"got {type(state).__name__}"))
        fields = state._asdict()
        kept = tuple(sorted(fields.get(k, ())) for k in ("hyperparams", "schedules"))
        if kept != self._numbers:
            (had, planned), (has, plans) = kept, self._numbers
            raise ValueError(
                wrong_state(
                    self.rule.name,
                    f"got one with the hyperparameters {had} and schedules for {planned}, where "
                    f"this link has {has} and schedules for {plans}",
                )
            )

    @functools.cached_property
    def _numbers(self) -> tuple[list[str], list[str]]:
        """Names of the hyperparameters in the state, and of those that follow a schedule."""
        rule = self.rule
        other = {*rule.initial, *rule.slot_dtypes, "state_dtype", *dict(self.options)}
        return (
            sorted(k for k in rule.signature.parameters if k not in other),
            sorted(name for name, _ in self.schedules),
        )

    def in_force(self, state: State) -> Scalars:
        """The hyperparameters of this step: as they stand, or by their schedules."""
        values = dict(state.hyperparams)
        count = state.count.astype(hyper_dtype())
        for name, evaluate in self.schedules:
            values[name] = as_state(evaluate(count, state.schedules[name]))
        return values

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
        t = steps.astype(hyper_dtype())
        if self.rule.clock is None:
            return {"t": t}, {"steps": steps}
        last = dict(state.memory) if self.rule.memory else {}
        scalars, memory = self.rule.clock(t, last, **hyper, **dict(self.options))
        kept = {k: jnp.where(moved, memory[k], last[k]) for k in self.rule.memory}
        return {"t": t, **scalars}, {"steps": steps} | ({"memory": kept} if kept else {})

    def measure(self, leaves: Leaves, state: State, hyper: Scalars) -> Scalars:
        """Quantities of the whole tree, out of the leaves that have a gradient."""
        rule = self.rule
        if rule.combine is None:
            return {}
        found = [
            self._jitted_measure(
                leaves.updates[i], leaves.params[i] if "params" in rule.requires else None, hyper
            )
            for i in leaves.active
        ]
        stats = jax.tree.map(lambda *xs: jnp.stack(xs), *found) if found else None
        whole = rule.combine(stats, dict(state.metrics), **hyper, **dict(self.options))
        return {k: as_state(whole[k]) for k in rule.metrics}

    @functools.cached_property
    def _jitted_measure(self) -> Callable[..., Any]:
        return _jit(self._on_leaf_measure, f"{self.rule.name}_measure")

    def _on_leaf_measure(self, g: Array, p: Array | None, hyper: Scalars) -> Scalars:
        assert self.rule.measure is not None
        compute = compute_dtype(g.dtype)
        arguments = cast(hyper, jnp.finfo(compute).dtype) | dict(self.options)
        found = self.rule.measure(*cast((g, p), compute), **arguments)
        return {k: as_state(v) for k, v in found.items()}

    def on_leaf(
        self, g: Array, slots: Scalars, p: Array | None, now: Now, hyper: Scalars
    ) -> tuple[Array, Scalars]:
        """The maths on one leaf, all arguments in the precision of the computation."""
        arguments = hyper | dict(self.options)

        def maths(g: Array, slots: Scalars, p: Array | None) -> Any:
            return self.rule.leaf(g, State(**slots), p, now, **arguments)

        return by_parts(maths, g, slots, p if "params" in self.rule.requires else None)


class Context(NamedTuple):
    """What a rule reads besides arrays."""

    clock: dict[str, Any]  # per leaf: each value is (n,)
    whole: Scalars  # of the whole tree, and extra arguments: ()
    hyper: Scalars  # in force: ()


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
        prepared = [
            self._prepare(rule, leaves, state, extra)
            for rule, state in zip(self.rules, states, strict=True)
        ]
        contexts = tuple(context for context, _ in prepared)
        needs_params = any("params" in rule.rule.requires for rule in self.rules)
        for i in leaves.active:
            p = leaves.params[i] if needs_params else None
            arguments = (leaves.updates[i], leaves.slots[i], p, np.int32(i), contexts)
            try:
                result = self._jitted(*arguments, leaves.dtypes[i])
            except Exception as error:
                leaves.explain(i, error)
                raise
            leaves.put(i, *result)
        outputs, slots = leaves.rebuild()
        kept = [_next(s, k | v) for s, (_, k), v in zip(states, prepared, slots, strict=True)]
        return outputs, kept

    @staticmethod
    def _prepare(
        rule: RuleUpdate, leaves: Leaves, state: State, extra: Mapping[str, Any]
    ) -> tuple[Context, dict[str, Any]]:
        """What a rule reads at this step, and what of it the state keeps."""
        hyper = rule.in_force(state)
        clock, kept = rule.tick(leaves, state, hyper)
        whole = rule.measure(leaves, state, hyper)
        if rule.rule.metrics:
            kept["metrics"] = dict(whole)
        given = {k: as_state(extra[k]) for k in rule.rule.requires if k != "params"}
        kept |= {"count": safe_increment(state.count), "hyperparams": hyper}
        return Context(clock, whole | given, hyper), kept

    @functools.cached_property
    def _jitted(self) -> Callable[..., Any]:
        return _jit(self._on_leaf, "__".join(r.rule.name for r in self.rules), static_argnums=5)

    def _on_leaf(
        self,
        g: Array,
        slots: tuple[Scalars, ...],
        p: Array | None,
        i: Array,
        contexts: tuple[Context, ...],
        dtype: Any,
    ) -> tuple[Array, list[Scalars]]:
        """All rules on the leaf number `i`, whose update is to have `dtype`."""
        compute = compute_dtype(dtype)
        real = jnp.finfo(compute).dtype
        u, p = cast((g, p), compute)
        kept = []
        for rule, own, context in zip(self.rules, slots, contexts, strict=True):
            now, hyper = Now(context, i, real), cast(context.hyper, real)
            u, new = rule.on_leaf(u, cast(own, compute), p, now, hyper)
            kept.append({k: new[k].astype(own[k].dtype) for k in own})
        return u.astype(dtype), kept


def wrong_state(link: str, got: str) -> str:
    """The message for a state that another transformation made."""
    return (
        f"{link}: state must be what init of the same transformation made, {got}. Restore a "
        "checkpoint with jax.eval_shape(tx.init, params) as its target."
    )


def _next(old: State, new: Mapping[str, Any]) -> State:
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
