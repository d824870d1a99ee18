"""Runs a step, which may donate the memory of parameters and state."""

from collections.abc import Callable
from typing import TypeGuard

import jax
import jax.numpy as jnp

from ...core.protocol import PyTree
from ...core.trees.structure import path_string
from ..params.copies import check_alive
from .scalar_packing import Arrays

__all__ = ["check_not_traced", "explain_arguments", "run_donating", "run_keeping"]


def run_donating(
    name: str,
    program: Callable[..., PyTree],
    params: list[PyTree],
    states: list[Arrays],
    arguments: tuple[PyTree, ...],
    outputs: list[PyTree],
) -> None:
    """Calls `program(params, states, *arguments)`, which donates the first two.

    Arguments that share memory with donated arrays are copied. The result is appended to `outputs`,
    so that it is not lost if a KeyboardInterrupt ends this function: Python handles signals between
    its instructions, and there is none between the end of the call and the append.

    Raises:
      RuntimeError: the program failed after its arguments had been donated.
    """
    try:
        # One call in C runs the program and stores its result.
        outputs.extend(map(program, *zip((params, states, *arguments), strict=True)))
        return
    except Exception as error:
        explain_arguments(name, arguments, error)
        if any(_is_deleted(x) for x in jax.tree.leaves((params, states))):
            raise RuntimeError(
                f"{name}: the step failed after parameters and state had been donated to it, and "
                "they are lost. Restore them from a checkpoint, into a new optimizer. With "
                "differentiable=True, a step does not donate them."
            ) from error
        # XLA refuses a donated buffer that is also an argument, such as a gradient that is a
        # parameter.
        donated = _buffers((params, states))
        if not donated & _buffers(arguments):
            raise
    copies = jax.tree.map(lambda x: jnp.copy(x) if _buffers(x) & donated else x, arguments)
    outputs.append(program(params, states, *copies))


def run_keeping(
    name: str,
    program: Callable[..., PyTree],
    params: list[PyTree],
    states: list[Arrays],
    arguments: tuple[PyTree, ...],
    outputs: list[PyTree],
) -> None:
    """Calls `program(params, states, *arguments)`, which donates nothing; see `run_donating`."""
    try:
        outputs.append(program(params, states, *arguments))
    except Exception as error:
        explain_arguments(name, arguments, error)
        raise


def explain_arguments(name: str, arguments: tuple[PyTree, ...], error: Exception) -> None:
    """Raises an error that says what to do, if a program failed because of its arguments.

    Args:
      name: name of the step, for errors.
      arguments: gradients; or positional and keyword arguments of a loss.
      error: the exception that the program raised.
    """
    keys = ("args", "kwargs") if len(arguments) == 2 else ("grads",)
    named = dict(zip(keys, arguments, strict=True))
    for path, x in jax.tree_util.tree_flatten_with_path(named)[0]:
        if hasattr(x, "detach"):
            raise TypeError(
                f"{name}: '{path_string(path)}' is a tensor of torch. Pass an array: x.numpy(), or "
                "let the DataLoader's collate_fn make arrays of NumPy."
            ) from error
    try:
        check_alive(name, named)
    except RuntimeError as explained:
        raise explained from error


def _is_deleted(x: object) -> bool:
    return _is_concrete(x) and x.is_deleted()


def _is_concrete(x: object) -> TypeGuard[jax.Array]:
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)


def _buffers(tree: PyTree) -> set[int]:
    """Returns the addresses of all arrays of a tree that are not deleted."""
    arrays = [x for x in jax.tree.leaves(tree) if _is_concrete(x) and not x.is_deleted()]
    shards = [shard.data for x in arrays for shard in x.addressable_shards if shard.data.size]
    return {x.unsafe_buffer_pointer() for x in shards}


_CONCRETE_TYPES: set[type] = set()
"""Types of leaves that are not tracers, kept because the check below runs at every step."""


def check_not_traced(name: str, old: PyTree, new: PyTree) -> None:
    """Raises RuntimeError if a step within a trace would replace concrete arrays by tracers."""
    kinds = set(map(type, jax.tree.leaves(new)))
    if kinds <= _CONCRETE_TYPES:
        return
    if not any(issubclass(kind, jax.core.Tracer) for kind in kinds):
        _CONCRETE_TYPES.update(kinds)
        return
    if not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(old)):
        raise RuntimeError(
            f"{name}: called within a trace (jit, grad, scan, ...). The optimizer cannot carry its "
            "arrays out of a trace. Call it outside, and let minimize compile the step; or make "
            "the optimizer within, with differentiable=True; or use the functional interface."
        )
