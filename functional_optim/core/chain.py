"""Composition: transformations applied one after another."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .adapter import ExtraArgsAdapter, check_order, check_pair, link_name, wrong_state
from .caching import Interned
from .engine.fused import FusedUpdate
from .protocol import GradientTransformation, PyTree
from .rules.bound_rule import BoundRule
from .signatures import named_init
from .state import State
from .trees.apply import apply_updates

__all__ = ["chain"]


def chain(*links: GradientTransformation) -> GradientTransformation:
    """Composes transformations: the updates pass through the links in order.

    The state is a `State` with one field for each link, named after it (`scale_by_adam`; a
    second link of the same name is `scale_by_adam_1`), which can also be indexed by
    position. Chaining is associative: the links of a nested chain become links of the outer
    one. So `chain(clip(1.0), adam(1e-3))` keeps its moments under `scale_by_adam`, as
    `adam(1e-3)` does. The empty chain is the identity.

    A link may be any pair `(init, update)`: of this package, of optax, or a custom one. An
    update of another library gets the extra arguments that its signature takes.

    Args:
      *links: the transformations, in the order in which they get the updates.

    Raises:
      TypeError: a link is not a pair of callables.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip(1.0), fo.sgd(0.1, momentum=0.9))
      >>> tx.init({"w": 0.0})._fields
      ('clip', 'trace', 'scale_by_learning_rate')
    """
    pairs = [pair for i, link in enumerate(links) for pair in _pairs_of(i, link)]
    names = _distinct(link_name(init, update) for init, update in pairs)
    inits = tuple(init for init, _ in pairs)
    updates = tuple(ExtraArgsAdapter.to(update) for _, update in pairs)
    update = ChainUpdate.of(names, updates)
    _ = update.stages  # computed here, and not in the first step
    return GradientTransformation(ChainInit(names, inits), update)


def _pairs_of(
    position: int, link: GradientTransformation
) -> Iterable[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Returns the pairs of a link: several if it is a chain of this package."""
    init, update = check_pair(f"chain: link {position}", link)
    if isinstance(init, ChainInit) and isinstance(update, ChainUpdate):
        # Flattened, so that paths in the state do not depend on how chains are nested.
        return zip(init.inits, (inner.function for inner in update.links), strict=True)
    return [(init, update)]


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Appends a number to a name that occurred before."""
    result: list[str] = []
    for name in names:
        # The first keeps its name; the next ones are `name_1`, `name_2`, ...
        numbered = (f"{name}_{n}" if n else name for n in itertools.count())
        result.append(next(candidate for candidate in numbered if candidate not in result))
    return tuple(result)


@named_init
@dataclasses.dataclass(frozen=True)
class ChainInit:
    """`init` of a chain."""

    names: tuple[str, ...]
    inits: tuple[Callable[..., Any], ...]
    name = "chain"

    def __call__(self, params: PyTree) -> State:
        """Makes the state: one field for each link."""
        return State(**{k: init(params) for k, init in zip(self.names, self.inits, strict=True)})

    def __repr__(self) -> str:
        links = zip(self.names, self.inits, strict=True)
        return f"chain({', '.join(repr(i) if hasattr(i, 'name') else k for k, i in links)})"


@dataclasses.dataclass(frozen=True)
class ChainUpdate(Interned):
    """`update` of a chain."""

    names: tuple[str, ...]
    links: tuple[ExtraArgsAdapter, ...]

    def __repr__(self) -> str:
        return f"<update of chain({', '.join(self.names)})>"

    @functools.cached_property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep all links alive."""
        return all(getattr(link.function, "is_cacheable", False) for link in self.links)

    def __call__(
        self,
        updates: PyTree,
        state: PyTree,
        params: PyTree | None = None,
        *,
        add_to_params: bool = False,
        **extra: Any,
    ) -> tuple[PyTree, State]:
        """Passes the updates through the links in order.

        With `add_to_params` returns the new parameters in place of the updates.
        """
        # A state of another chain could fit by accident, where links have equal fields.
        if not isinstance(state, State) or state._fields != self.names:
            check_order("chain", updates, state, params)
            got = state._fields if isinstance(state, State) else type(state).__name__
            raise ValueError(wrong_state("chain", f"with the links {self.names}, got {got}"))
        states = tuple(state)
        new_states: list[PyTree] = []
        last = self.stages[-1] if self.stages else None
        for stage in self.stages:
            first = len(new_states)
            if isinstance(stage, FusedUpdate):
                add = add_to_params and stage is last
                # A fused stage has one state for each of its rules.
                old = states[first : first + len(stage.rules)]
                updates, new = stage.run(updates, old, params, extra, add_to_params=add)
            else:
                updates, link_state = stage(updates, states[first], params, extra)
                new = [link_state]
            new_states += new
        # Only the function of a fused leaf can add the update itself.
        if add_to_params and not isinstance(last, FusedUpdate):
            updates = apply_updates(params, updates)
        return updates, State(**dict(zip(self.names, new_states, strict=True)))

    @functools.cached_property
    def stages(self) -> list[FusedUpdate | ExtraArgsAdapter]:
        """The links, with neighbouring leaf rules fused."""
        stages: list[list[BoundRule] | ExtraArgsAdapter] = []
        for link in self.links:
            update = link.function
            # Wrappers, and links of other libraries, are called separately.
            if not isinstance(update, FusedUpdate):
                stages.append(link)
                continue
            (rule,), before = update.rules, stages[-1] if stages else None
            if isinstance(before, list) and _can_follow(rule, before):
                before.append(rule)
            else:
                stages.append([rule])
        return [FusedUpdate.of(tuple(s)) if isinstance(s, list) else s for s in stages]


def _can_follow(rule: BoundRule, before: list[BoundRule]) -> bool:
    """Tells whether a rule can join the fused rules before it.

    None of them computes the whole tree, and the rule measures no quantity of the tree.
    """
    # A quantity of the tree is computed from the updates of all leaves, after the links before it
    # have run on all of them; within a fused loop, only one leaf is known.
    whole_tree = rule.spec.whole_tree or before[0].spec.whole_tree
    return not whole_tree and rule.spec.tree_stats.combine is None
