"""Decides cheaply whether a leaf may have a kernel, before the translator is imported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from ..core.engine.executors import LeafCall, LeafFunction, Result

__all__ = ["NATIVE", "NativeBackend"]


class NativeBackend:
    """The backend of native kernels; `native.executor` does the work, and is imported late.

    It claims no leaf outside of a trace, where each would compile a program of its own.
    """

    joins_leaves = True

    def claims(self, fused: "LeafFunction", call: "LeafCall") -> bool:
        """Tells whether a kernel is built for this leaf, and saves anything."""
        if not _pays(call) or not isinstance(call.update, jax.core.Tracer):
            return False
        from .switch import recorded_bodies

        if recorded_bodies() is None and not _may_run():
            return False
        from .executor import claims

        return claims(fused, call)

    def run(self, fused: "LeafFunction", calls: Sequence["LeafCall"]) -> "Sequence[Result]":
        """Runs the leaves by their kernels."""
        from .executor import run

        return run(fused, calls)


NATIVE = NativeBackend()


def _may_run() -> bool:
    """Tells whether there is any kernel, for a program that is traced now."""
    from .library import has_any
    from .switch import is_enabled

    return is_enabled() and jax.default_backend() == "cpu" and has_any()


def _pays(call: "LeafCall") -> bool:
    """Tells whether a kernel saves anything: it reads parameter and slots once.

    XLA, which has a loop for each result, joins one that makes an update to what adds it. A
    kernel there would write the update to memory, in pages that are new at each step, and take
    three times as long.
    """
    return call.signature.add_to_params and any(call.slots)
