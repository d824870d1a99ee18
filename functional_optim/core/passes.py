"""Rules that go over the leaves together."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .apply import moved, put_leaves
from .context import Columns, Context, Now
from .interning import Interned
from .law import next_state
from .leaf import cast, cast_like
from .leaves import Leaves
from .numbers import as_state
from .precision import compute_dtype, safe_increment
from .protocol import PyTree
from .rows import Rows
from .state import State
from .trees import is_absent
from .unstack import unstack

if TYPE_CHECKING:
    from .engine import RuleUpdate

__all__ = ["Pass", "jit_as"]

Array = jax.Array
Scalars = dict[str, Array]


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
        contexts = tuple(p.context for p in prepared)
        needs_params = any("params" in rule.rule.requires for rule in self.rules)
        for i in leaves.active:
            own = tuple((p.rows[i], p.trees[i]) for p in prepared)
            # An update of no parameter stays one, for `apply` to say where it is.
            adds = applies and not is_absent(leaves.params[i])
            p = leaves.params[i] if needs_params or adds else None
            arguments = (
                leaves.updates[i],
                leaves.slots[i],
                p,
                np.int32(leaves.numbers[i]),
                own,
                contexts,
            )
            try:
                result = self._jitted(*arguments, leaves.dtypes[i], adds)
            except Exception as error:
                leaves.explain(i, error)
                raise
            leaves.put(i, *result)
        outputs, slots = leaves.rebuild()
        kept = [next_state(s, p.kept | v) for s, p, v in zip(states, prepared, slots, strict=True)]
        return outputs, kept

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
        rows: Sequence[Array | None] = [None] * n
        if flat and n:
            matrix = jnp.stack([jnp.broadcast_to(as_state(v), (n,)) for v in flat], axis=1)
            rows = unstack(matrix)
        context = Context.of(Columns(tuple(clock), tuple(own), treedef), whole, shared)
        return _Prepared(context, rows, trees, kept)

    @functools.cached_property
    def _jitted(self) -> Callable[..., Any]:
        return jit_as(
            self._on_leaf, "__".join(r.rule.name for r in self.rules), static_argnums=(6, 7)
        )

    def _on_leaf(
        self,
        g: Array,
        slots: tuple[Scalars, ...],
        p: Array | None,
        i: Array,
        own: tuple[tuple[Array | None, Scalars], ...],
        contexts: tuple[Context, ...],
        dtype: Any,
        adds: bool,
    ) -> tuple[Array, list[Scalars]]:
        """All rules on the leaf number `i`, whose update is to have `dtype`.

        Returns:
          The update, or where it `adds`, the new parameter; and the slots of each rule.
        """
        whole = p
        compute = compute_dtype(dtype)
        real = jnp.finfo(compute).dtype
        rows = Rows(g)
        u, p = cast((rows.values, rows.of(p)), compute)
        kept = []
        for rule, old, (row, trees), context in zip(self.rules, slots, own, contexts, strict=True):
            now = Now(context, row, trees | {"leaf": i}, real)
            hyper = context.hyper(real) | context.columns.hyper(row, real)
            for name, _ in rule.generators:
                hyper[name] = jax.random.fold_in(context.whole[name], i)
            u, new = rule.on_leaf(u, cast(rows.of(old), compute), p, now, hyper)
            kept.append({k: rows.put(old[k], cast_like(new[k], old[k])) for k in old})
        # The exact difference to a narrower parameter would not survive its dtype, and what
        # follows the rule that made it (an average, say) is to see it too.
        exact = any(rule.rule.exact for rule in self.rules)
        update = rows.update(u if exact else u.astype(dtype))
        return moved(whole, update) if adds else update, kept


def jit_as(method: Callable[..., Any], name: str, **options: Any) -> Callable[..., Any]:
    """Jits a method under a name that shows in programs and profiles."""

    def function(*args: Any) -> Any:
        return method(*args)

    function.__name__ = function.__qualname__ = name
    return jax.jit(function, **options)
