"""Rules of the whole tree: maths on all leaves at once, where `combine` does not reach."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec

import jax

from .apply import apply_updates
from .engine import Rule, RuleUpdate
from .law import next_state
from .leaf import cast, cast_like
from .leaves import Leaves
from .numbers import as_state
from .objective import Objective
from .precision import compute_dtype, safe_increment
from .protocol import GradientTransformation, PyTree
from .rule import make_factory
from .state import State

__all__ = ["tree_rule"]

P = ParamSpec("P")
Array = jax.Array


def tree_rule(
    *,
    slots: Callable[..., Mapping[str, Array]] | None = None,
    scalars: Callable[..., Mapping[str, Any]] | None = None,
    metrics: tuple[str, ...] = (),
    static: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    bounds: Mapping[str, str] | None = None,
    requires: tuple[str, ...] = (),
    requires_trees: tuple[str, ...] = (),
    exact: bool = False,
    check: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Callable[
    [Callable[Concatenate[Any, Any, Any, Any, P], Any]], Callable[P, GradientTransformation]
]:
    """Makes a factory of transformations out of maths on the leaves of a whole tree.

    The decorated function is `(g, slots, p, now, <hyperparameters>) -> (u, slots, scalars)`, as
    that of a `leaf_rule`, but g, u and p are lists, one entry for each leaf that has an update,
    and so are the slots. Leaves are in float32 or wider, complex ones as they are. `scalars`
    returns the next values of the declared scalars and metrics. `now` has the last ones, `count`,
    the number of updates before this one, and what the rule requires; of trees, the leaves that
    have an update.

    Args are as in `leaf_rule`, except:

    Args:
      scalars: their starts may be of any shape; an integer of NumPy is a count, and stays one.
      requires: may hold `value_fn`: `now.value_fn` is then an `Objective` of those leaves.
    """

    def decorate(maths: Callable[..., Any]) -> Callable[P, GradientTransformation]:
        parameters = list(inspect.signature(maths).parameters.values())[4:]
        return make_factory(
            TreeRule,
            maths,
            parameters,
            slots=slots,
            scalars=scalars,
            metrics=metrics,
            static=static,
            optional=optional,
            bounds=bounds,
            requires=requires,
            requires_trees=requires_trees,
            exact=exact,
            parts=False,
            check=check,
        )

    return decorate


@dataclasses.dataclass(frozen=True, eq=False)
class TreeRule(Rule):
    """A rule whose maths is on all leaves."""

    by_leaf = False

    def make_update(self, *fields: Any) -> "TreeUpdate":
        """What the arguments make of it."""
        return TreeUpdate.of(self, *fields)


@dataclasses.dataclass(frozen=True)
class TreeUpdate(RuleUpdate):
    """`update` of a rule of the whole tree."""

    by_leaf = False

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Transforms the updates of a tree; unknown extra arguments are for other links."""
        self.check_given(state, params, extra)
        leaves = Leaves(self.rule.name, updates, (state,), params)
        self.check_sparse(leaves)
        hyper = self.in_force(state)
        _, kept = self.tick(leaves, state, hyper)
        compute = [compute_dtype(leaves.dtypes[i]) for i in leaves.active]

        def wide(column: list[Any]) -> list[Any]:
            chosen = (column[i] for i in leaves.active)
            return [cast(x, dtype) for x, dtype in zip(chosen, compute, strict=True)]

        old = [slots for (slots,) in leaves.slots]
        slots = {k: wide([s[k] for s in old]) for k in leaves.names[0]}
        p = wide(leaves.params) if "params" in self.rule.requires else None
        now = self._now(leaves, state, extra, wide)
        arguments = hyper | dict(self.options)
        u, new, scalars = self.rule.leaf(wide(leaves.updates), State(**slots), p, now, **arguments)
        for j, i in enumerate(leaves.active):
            update = u[j] if self.rule.exact else u[j].astype(leaves.dtypes[i])
            leaves.put(i, update, ({k: cast_like(new[k][j], x) for k, x in old[i].items()},))
        outputs, (trees,) = leaves.rebuild()
        kept |= {"count": safe_increment(state.count), "hyperparams": hyper} | trees
        for field in ("scalars", "metrics"):
            if field in state:
                kept[field] = {k: scalars[k] for k in state[field]}
        return outputs, next_state(state, kept)

    def apply(
        self, updates: PyTree, state: State, params: PyTree, extra: dict[str, Any]
    ) -> tuple[PyTree, State]:
        """Transforms the updates, and adds them; returns parameters and the next state."""
        updates, state = self(updates, state, params, **extra)
        return apply_updates(params, updates), state

    def _now(
        self,
        leaves: Leaves,
        state: State,
        extra: Mapping[str, Any],
        wide: Callable[[list[Any]], list[Any]],
    ) -> State:
        """What the maths reads besides arrays."""
        given: dict[str, Any] = {"count": state.count}
        for field in ("scalars", "metrics"):
            given |= state._asdict().get(field, {})
        for name in self.rule.requires:
            if name == "value_fn":
                given[name] = Objective(extra[name], leaves, extra)
            elif name != "params":
                given[name] = as_state(extra[name])
        given |= {k: wide(leaves.column(extra[k], k)) for k in self.rule.requires_trees}
        return State(**given)
