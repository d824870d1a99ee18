"""Decides cheaply whether a leaf may have a kernel, before the translator is imported."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax

from .cache import root

if TYPE_CHECKING:
    from ..core.engine.executors import LeafCall, LeafFunction, Result

__all__ = ["NATIVE", "NativeBackend"]


class NativeBackend:
    """The backend of native kernels, which imports `native.executor` when a leaf may need it.

    It claims leaves only while JAX traces: outside, each leaf would compile a program.
    """

    joins_leaves = True

    def claims(self, function: "LeafFunction", call: "LeafCall") -> bool:
        """Tells whether a kernel is built for this leaf, and saves time."""
        # A kernel reads the parameter and the slots once, where XLA has a loop for each result.
        # Without slots there is one result.
        if not any(call.slots) or not isinstance(call.update, jax.core.Tracer):
            return False
        from .switch import recorded_bodies

        if recorded_bodies() is None and not _may_run():
            return False
        from .executor import claims

        return claims(function, call)

    def run(self, function: "LeafFunction", calls: Sequence["LeafCall"]) -> "Sequence[Result]":
        """Runs the leaves by their kernels."""
        from .executor import run

        return run(function, calls)


NATIVE = NativeBackend()

# Calls of kernels need jax.extend, which adds to the context of traces in jax 0.12. Imported by the
# first trace of a step, it would make the second step compile again. Its import takes longer than
# that of this package, and without kernels nothing needs it.
if (root() / "native").is_dir():
    import jax.extend.core


def _may_run() -> bool:
    """Tells whether a program that is traced now may use kernels, and any are built."""
    from .library import has_any
    from .switch import is_enabled

    return is_enabled() and jax.default_backend() == "cpu" and has_any()
