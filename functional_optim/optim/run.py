"""Running a step that takes over the memory of parameters and state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree

__all__ = ["refuse_traced", "run"]


def run(
    name: str,
    program: Callable[..., Any],
    params: list[PyTree],
    leaves: list[Any],
    arguments: tuple[Any, ...],
) -> Any:
    """Calls `program(params, leaves, *arguments)`, which donates the first two.

    Arguments that share memory with what is donated are copied.

    Raises:
      RuntimeError: the program failed when its arguments were gone already.
    """
    try:
        return program(params, leaves, *arguments)
    except Exception as error:
        if any(_is_deleted(x) for x in jax.tree.leaves((params, leaves))):
            raise RuntimeError(
                f"{name}: the step failed after it had taken over the memory of parameters and "
                "state, and they are lost. Restore them from a checkpoint, into an optimizer made "
                "anew. With differentiable=True, a step leaves the old arrays alone."
            ) from error
        owned = _memory((params, leaves))
        if not owned & _memory(arguments):
            raise
    copies = jax.tree.map(lambda x: jnp.copy(x) if _memory(x) & owned else x, arguments)
    return program(params, leaves, *copies)


def _is_deleted(x: Any) -> bool:
    return _is_concrete(x) and x.is_deleted()


def _is_concrete(x: Any) -> bool:
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)


def _memory(tree: PyTree) -> set[int]:
    """Where the arrays of a tree are; an array that is deleted is nowhere."""
    arrays = [x for x in jax.tree.leaves(tree) if _is_concrete(x) and not x.is_deleted()]
    shards = [shard.data for x in arrays for shard in x.addressable_shards if shard.data.size]
    return {x.unsafe_buffer_pointer() for x in shards}


_CONCRETE: set[type] = set()
"""Types of leaves that are no tracers, as met: a question of each step."""


def refuse_traced(name: str, old: PyTree, new: PyTree) -> None:
    """Raises RuntimeError where a step within a trace would leave tracers for concrete arrays."""
    kinds = set(map(type, jax.tree.leaves(new)))
    if kinds <= _CONCRETE:
        return
    if not any(issubclass(kind, jax.core.Tracer) for kind in kinds):
        _CONCRETE.update(kinds)
        return
    if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(old)):
        raise RuntimeError(
            f"{name}: called within a trace (jit, grad, scan, ...), out of which the optimizer "
            "cannot carry what it keeps. Call it outside, and let minimize compile the step; or "
            "make the optimizer within, with differentiable=True; or use the functional interface."
        )
