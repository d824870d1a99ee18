"""Links that compare what comes out of a chain with what went in."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ..core.adapter import Link
from ..core.caching import Interned
from ..core.chain import chain
from ..core.protocol import GradientTransformation, PyTree

__all__ = ["with_incoming"]


def with_incoming(name: str, *links: GradientTransformation) -> GradientTransformation:
    """Chains links whose later ones read the updates that the first was given.

    A rule that says `needs_trees=("incoming",)` finds its leaf of them as `ctx.incoming`.

    Args:
      name: of the state within a chain; its fields are the links.
    """
    init, update = chain(*links)
    return GradientTransformation(_Init(name, init), _Update.of(Link.to(update)))


@dataclasses.dataclass(frozen=True)
class _Init:
    """`init` of the links."""

    name: str
    init: Callable[..., Any]

    def __call__(self, params: PyTree) -> Any:
        return self.init(params)

    def __repr__(self) -> str:
        return f"{self.name}({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _Update(Interned):
    """`update` of the links."""

    chain: Link

    @property
    def is_cacheable(self) -> bool:
        """Whether all links may be kept alive by a cache."""
        return getattr(self.chain.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        """Passes the updates through the links, with themselves as an extra argument."""
        return self.chain(updates, state, params, extra | {"incoming": updates})
