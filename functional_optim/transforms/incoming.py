"""Chains whose later links compare the updates with the updates that the first link received."""

import dataclasses

from ..core.adapter import ExtraArgsAdapter
from ..core.caching import Interned
from ..core.chain import chain
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.types import OptState

__all__ = ["with_incoming"]


def with_incoming(name: str, *links: GradientTransformation) -> GradientTransformation:
    """Chains transformations that can read the updates that the first of them receives.

    A rule with `needs_trees=("incoming",)` finds its leaf of these updates as `ctx.incoming`.

    Args:
      name: name of the state within a chain; its fields are the links.
    """
    init, update = chain(*links)
    return GradientTransformation(
        _IncomingInit(name, init), _IncomingUpdate.of(ExtraArgsAdapter.to(update))
    )


@named_init
@dataclasses.dataclass(frozen=True)
class _IncomingInit:
    """`init` of the links."""

    name: str
    init: TransformInitFn

    def __call__(self, params: PyTree) -> OptState:
        return self.init(params)

    def __repr__(self) -> str:
        return f"{self.name}({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _IncomingUpdate(Interned):
    """`update` of the links."""

    chain: ExtraArgsAdapter

    @property
    def is_cacheable(self) -> bool:
        """Whether all links may be kept alive by a cache."""
        return getattr(self.chain.function, "is_cacheable", False)

    def __call__(
        self, updates: PyTree, state: OptState, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, OptState]:
        """Passes the updates through the links, and again as the extra argument `incoming`."""
        return self.chain(updates, state, params, extra | {"incoming": updates})
