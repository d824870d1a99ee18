"""Composition: links applied one after another."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .apply import apply_updates
from .engine import RuleUpdate
from .interning import Interned
from .law import wrong_state
from .link import Link, check_pair, link_name
from .passes import Pass
from .protocol import GradientTransformation, PyTree
from .state import State

__all__ = ["chain"]


def chain(*links: GradientTransformation) -> GradientTransformation:
    """Composes transformations: the updates pass through the links in order.

    The state is a `State` with one field for each link, named after it (`scale_by_adam`; a
    second link of the same name is `scale_by_adam_1`), which can also be indexed by
    position. Chaining is associative: a chain within a chain is taken apart, so that
    `chain(clip(1.0), adam(1e-3))` keeps its moments under `scale_by_adam`, as `adam(1e-3)`
    alone does. The empty chain is the identity.

    A link may be any pair `(init, update)`: of this package, of optax, or your own. A
    foreign update receives those of the extra arguments that its signature takes.

    Raises:
      TypeError: a link is not a pair of callables.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.chain(fo.clip(1.0), fo.sgd(0.1, momentum=0.9))
      >>> tx.init({"w": 0.0})._fields
      ('clip', 'trace', 'scale_by_learning_rate')
    """
    pairs = [pair for i, link in enumerate(links) for pair in _flat(i, link)]
    names = _distinct(link_name(init, update) for init, update in pairs)
    inits = tuple(init for init, _ in pairs)
    updates = tuple(Link.to(update) for _, update in pairs)
    update = ChainUpdate.of(names, updates)
    return GradientTransformation(ChainInit(names, inits), update)


def _flat(position: int, link: Any) -> Iterable[tuple[Any, Any]]:
    """The pairs of a link: several where it is a chain of ours."""
    init, update = check_pair(f"chain: link {position}", link)
    if isinstance(init, ChainInit) and isinstance(update, ChainUpdate):
        return zip(init.inits, (inner.function for inner in update.links), strict=True)
    return [(init, update)]


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    result: list[str] = []
    for name in names:
        numbered = (f"{name}_{n}" if n else name for n in itertools.count())
        result.append(next(candidate for candidate in numbered if candidate not in result))
    return tuple(result)


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
    links: tuple[Link, ...]

    @property
    def lasting(self) -> bool:
        """As long as all links are."""
        return all(getattr(link.function, "lasting", False) for link in self.links)

    def __call__(
        self, updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, State]:
        """Passes the updates through the links in order."""
        return self._run(updates, state, params, extra, applies=False)

    def apply(
        self, updates: PyTree, state: Any, params: PyTree, extra: dict[str, Any]
    ) -> tuple[PyTree, State]:
        """Adds what comes out of the links; returns parameters and the next state."""
        return self._run(updates, state, params, extra, applies=True)

    def _run(
        self,
        updates: PyTree,
        state: Any,
        params: PyTree | None,
        extra: dict[str, Any],
        *,
        applies: bool,
    ) -> tuple[PyTree, State]:
        if not isinstance(state, State) or state._fields != self.names:
            had = state._fields if isinstance(state, State) else type(state).__name__
            raise ValueError(wrong_state("chain", f"with the links {self.names}, got {had}"))
        given, kept = iter(state), []
        for stage in self._stages:
            if isinstance(stage, Pass):
                inner = [next(given) for _ in stage.rules]
                call = stage.apply if applies and stage is self._last_pass else stage
                updates, inner = call(updates, inner, params, extra)
                kept += inner
            else:
                updates, one = stage(updates, next(given), params, extra)
                kept.append(one)
        if applies and self._last_pass is None:
            updates = apply_updates(params, updates)
        return updates, State(**dict(zip(self.names, kept, strict=True)))

    @property
    def _last_pass(self) -> Pass | None:
        """The last stage, where it can add the updates that it makes."""
        last = self._stages[-1] if self._stages else None
        return last if isinstance(last, Pass) else None

    @functools.cached_property
    def _stages(self) -> list[Pass | Link]:
        """The links, with rules that follow one another joined to one pass over the leaves."""
        stages: list[Pass | Link] = []
        for link in self.links:
            rule = link.function
            if not isinstance(rule, RuleUpdate) or not rule.by_leaf:
                stages.append(link)
            elif stages and isinstance(stages[-1], Pass) and rule.rule.combine is None:
                stages[-1] = Pass((*stages[-1].rules, rule))
            else:
                stages.append(Pass((rule,)))
        return [Pass.of(stage.rules) if isinstance(stage, Pass) else stage for stage in stages]
