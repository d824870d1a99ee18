"""Rules that go over the leaves together."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .apply import moved, put_leaves
from .clocks import Clocks, one_row
from .context import Columns, Context, Now
from .in_parts import Elements, in_parts
from .interning import Interned
from .law import next_state
from .leaf import cast, cast_like
from .leaves import Leaves, Run
from .numbers import as_state
from .packing import Group, joined
from .precision import compute_dtype, safe_increment
from .protocol import PyTree
from .rows import Rows
from .server import LeafArrays, LeafCall, LeafForm, serve
from .state import State
from .stored import holds_stored
from .trees import is_absent

if TYPE_CHECKING:
    from .engine import RuleUpdate

__all__ = ["Pass", "jit_as"]

Array = jax.Array
Scalars = dict[str, Array]


class _Prepared(NamedTuple):
    """A rule at one step."""

    context: Context
    clocks: Clocks
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

    rules: "tuple[RuleUpdate, ...]"

    def __call__(
        self,
        updates: PyTree,
        states: Sequence[State],
        params: PyTree | None,
        extra: Mapping[str, Any],
    ) -> tuple[PyTree, list[State]]:
        """Transforms the updates; returns them with the rules' next states."""
        return self._run(updates, states, params, extra, applies=False)

    def apply(
        self,
        updates: PyTree,
        states: Sequence[State],
        params: PyTree,
        extra: Mapping[str, Any],
    ) -> tuple[PyTree, list[State]]:
        """Transforms the updates, and adds them; returns parameters and the next states.

        A leaf's function then makes the new parameter, and its update never is an array.
        """
        found, kept = self._run(updates, states, params, extra, applies=True)
        return put_leaves(params, found, lambda _, new, __: new), kept

    def _run(
        self,
        updates: PyTree,
        states: Sequence[State],
        params: PyTree | None,
        extra: Mapping[str, Any],
        *,
        applies: bool,
    ) -> tuple[PyTree, list[State]]:
        """What the rules make of the leaves, updates or new parameters, and their next states."""
        for rule, state in zip(self.rules, states, strict=True):
            rule.check_given(state, params, extra)
        leaves = Leaves(self.rules[0].rule.name, updates, states, params)
        for rule in self.rules:
            rule.check_sparse(leaves)
        prepared = [
            self._prepare(rule, leaves, state, extra)
            for rule, state in zip(self.rules, states, strict=True)
        ]
        calls = {i: self._call(leaves, i, prepared, applies=applies) for i in leaves.singles}
        served = serve(self, {i: c for i, c in calls.items() if not holds_stored(c.arrays.slots)})
        runs: list[Run] = [*leaves.groups, *leaves.singles]
        for run in runs:
            try:
                if isinstance(run, int):
                    result = served[run] if run in served else self._at(calls[run], prepared)
                else:
                    result = self._together(leaves, run, prepared, applies=applies)
            except Exception as error:
                leaves.explain(run, error)
                raise
            leaves.put(run, *result)
        outputs, slots = leaves.rebuild()
        kept = [next_state(s, p.kept | v) for s, p, v in zip(states, prepared, slots, strict=True)]
        return outputs, kept

    def _call(
        self, leaves: Leaves, i: int, prepared: list[_Prepared], *, applies: bool
    ) -> LeafCall:
        """What is to be done at leaf `i`."""
        # An update of no parameter stays one, for `apply` to say where it is.
        adds = applies and not is_absent(leaves.params[i])
        arrays = LeafArrays(
            leaves.updates[i],
            leaves.slots[i],
            leaves.params[i] if self._needs_params or adds else None,
            tuple((p.clocks.matrix, p.trees[i]) for p in prepared),
            tuple(p.context for p in prepared),
        )
        return LeafCall(arrays, LeafForm(leaves.dtypes[i], adds), i, leaves.numbers[i])

    def _at(self, call: LeafCall, prepared: list[_Prepared]) -> tuple[Array, list[Scalars]]:
        """What the rules make of a leaf."""
        rows = [p.clocks.row(call.row) for p in prepared]
        return self._jitted(_with_rows(call.arrays, rows), np.int32(call.number), call.form)

    def _together(
        self, leaves: Leaves, group: Group, prepared: list[_Prepared], *, applies: bool
    ) -> tuple[Array, list[Scalars]]:
        """What the rules make of leaves that are held together: `on_leaf`, mapped over them."""
        adds = applies and not is_absent(leaves.params[group[0]])
        taken = leaves.together(group, with_params=self._needs_params or adds)
        own = tuple((p.clocks.rows(group), joined(p.trees, group)) for p in prepared)
        arrays = LeafArrays(*taken, own, tuple(p.context for p in prepared))
        numbers = np.asarray([leaves.numbers[i] for i in group], np.int32)
        return self._jitted_together(arrays, numbers, LeafForm(leaves.dtypes[group[0]], adds))

    def alone(self, call: LeafCall) -> tuple[Array, list[Scalars]]:
        """What the rules make of one leaf, in a program that knows of no other."""
        own = call.arrays.own
        rows = [None if matrix is None else one_row(matrix, call.row) for matrix, _ in own]
        return self._jitted(_with_rows(call.arrays, rows), np.int32(call.number), call.form)

    @functools.cached_property
    def _needs_params(self) -> bool:
        return any("params" in rule.rule.requires for rule in self.rules)

    @functools.cached_property
    def plans(self) -> dict[Any, Any]:
        """What a server keeps for as long as there is this pass."""
        return {}

    @staticmethod
    def _prepare(
        rule: "RuleUpdate", leaves: Leaves, state: State, extra: Mapping[str, Any]
    ) -> _Prepared:
        """What a rule reads at this step, and what of it the state keeps."""
        declared, hyper, n = rule.rule, rule.in_force(state), len(leaves.updates)
        columns = {k: leaves.column(extra[k], k) for k in declared.requires_trees}
        trees = [{k: column[i] for k, column in columns.items()} for i in range(n)]
        given = {k: jnp.asarray(extra[k]) for k in declared.requires if k != "params"}
        shared, own = rule.by_leaf_numbers(leaves, state, hyper)
        clock, kept = rule.tick(leaves, state, shared | own)
        measured = rule.measure(leaves, state, shared, given, trees)
        whole = given | {name: v for values in measured.values() for name, v in values.items()}
        whole |= rule.randomness(state)
        kept |= measured | {"count": safe_increment(state.count), "hyperparams": hyper}
        flat, treedef = jax.tree.flatten((clock, own))
        matrix = None
        if flat and n:
            matrix = jnp.stack([jnp.broadcast_to(as_state(v), (n,)) for v in flat], axis=1)
        context = Context.of(Columns(tuple(clock), tuple(own), treedef), whole, shared)
        return _Prepared(context, Clocks(matrix, leaves.groups), trees, kept)

    @functools.cached_property
    def _jitted(self) -> Callable[..., Any]:
        name = "__".join(r.rule.name for r in self.rules)
        return jit_as(self._on_any_leaf, name, static_argnums=2)

    @functools.cached_property
    def _jitted_together(self) -> Callable[..., Any]:
        def mapped(arrays: LeafArrays, numbers: Array, form: LeafForm) -> Any:
            def one(g: Array, slots: Any, p: Array | None, own: Any, i: Array) -> Any:
                return self.on_leaf(LeafArrays(g, slots, p, own, arrays.contexts), i, form)

            return jax.vmap(one)(*arrays[:4], numbers)

        name = "__".join(r.rule.name for r in self.rules)
        return jit_as(mapped, f"{name}_together", static_argnums=2)

    def _on_any_leaf(
        self, arrays: LeafArrays, i: Array, form: LeafForm
    ) -> tuple[Array, list[Scalars]]:
        """`on_leaf`, also where slots are held in another form."""
        if not holds_stored(arrays.slots):
            return self.on_leaf(arrays, i, form)

        def maths(given: Elements, fixed: Any) -> tuple[Array, Any]:
            own, contexts, i = fixed
            result, kept = self.on_leaf(LeafArrays(*given, own, contexts), i, form)
            return result, tuple(kept)

        fixed = (arrays.own, arrays.contexts, i)
        result, kept = in_parts(maths, Elements(*arrays[:3]), fixed, adds=form.adds)
        return result, list(kept)

    def on_leaf(self, arrays: LeafArrays, i: Array, form: LeafForm) -> tuple[Array, list[Scalars]]:
        """All rules on the leaf number `i`.

        Args:
          arrays: with this leaf's row in the place of the clocks' scalars of all.

        Returns:
          The update, or where the form `adds`, the new parameter; and the slots of each rule.
        """
        g, slots, whole, own, contexts = arrays
        compute = compute_dtype(form.dtype)
        real = jnp.finfo(compute).dtype
        rows = Rows(g)
        u, p = cast((rows.values, rows.of(whole)), compute)
        kept = []
        for rule, old, (row, trees), context in zip(self.rules, slots, own, contexts, strict=True):
            now = Now(context, row, trees | {"leaf": i}, real, getattr(whole, "dtype", None))
            hyper = context.hyper(real) | context.columns.hyper(row, real)
            for name, _ in rule.generators:
                hyper[name] = jax.random.fold_in(context.whole[name], i)
            u, new = rule.on_leaf(u, cast(rows.of(old), compute), p, now, hyper)
            kept.append({k: rows.put(old[k], cast_like(new[k], old[k])) for k in old})
        # The exact difference to a narrower parameter would not survive its dtype, and what
        # follows the rule that made it (an average, say) is to see it too.
        exact = any(rule.rule.exact for rule in self.rules)
        update = rows.update(u if exact else u.astype(form.dtype))
        return moved(whole, update) if form.adds else update, kept


def _with_rows(arrays: LeafArrays, rows: Sequence[Array | None]) -> LeafArrays:
    """What is read at a leaf, with its own of the clocks' scalars alone."""
    own = tuple((row, trees) for row, (_, trees) in zip(rows, arrays.own, strict=True))
    return arrays._replace(own=own)


def jit_as(method: Callable[..., Any], name: str, **options: Any) -> Callable[..., Any]:
    """Jits a method under a name that shows in programs and profiles."""

    def function(*args: Any) -> Any:
        return method(*args)

    function.__name__ = function.__qualname__ = name
    return jax.jit(function, **options)
