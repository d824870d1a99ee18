"""`update` of a single rule."""

import dataclasses
import functools
from typing import Any

from ..caching import Interned
from ..protocol import PyTree
from ..rules.bound_rule import BoundRule
from ..state import State
from .fused import FusedUpdate

__all__ = ["RuleUpdate"]


@dataclasses.dataclass(frozen=True)
class RuleUpdate(Interned):
    """`update` of one rule: a `FusedUpdate` of that rule alone."""

    rule: BoundRule

    @property
    def is_cacheable(self) -> bool:
        """Whether a cache may keep the rule alive."""
        return self.rule.is_cacheable

    def __call__(
        self,
        updates: PyTree,
        state: State,
        params: PyTree | None = None,
        *,
        add_to_params: bool = False,
        **extra: Any,
    ) -> tuple[PyTree, State]:
        """Transforms the updates of a tree; unknown extra arguments are ignored."""
        outputs, (state,) = self._fused(
            updates, (state,), params, extra, add_to_params=add_to_params
        )
        return outputs, state

    @functools.cached_property
    def _fused(self) -> FusedUpdate:
        return FusedUpdate.of((self.rule,))
