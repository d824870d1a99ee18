"""Within `jax.shard_map`: the types of arrays that differ from device to device.

There, JAX keeps in the type of an array over which axes of the mesh it varies. Branches of a
condition, and the carry of a loop, must have one type: zeros do not vary, what is computed of a
device's own gradient does.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

__all__ = ["cond", "varying_as", "varying_like", "while_loop"]

Array = jax.Array
Axes = frozenset[Any]
T = TypeVar("T")


def varying_as(tree: T, *like: Any) -> T:
    """Returns a tree whose arrays vary over all axes over which some array of `like` does."""
    if not _in_shard_map():
        return tree
    axes = frozenset().union(*map(_axes, jax.tree.leaves(like)))
    return jax.tree.map(lambda x: _vary(x, axes), tree)


def varying_like(tree: T, like: Any) -> T:
    """Makes the arrays of a tree vary over the axes over which those of another tree vary."""
    if not _in_shard_map():
        return tree
    return jax.tree.map(lambda x, y: _vary(x, _axes(y)), tree, like)


def cond(holds: Array, on_true: Callable[[], T], on_false: Callable[[], T]) -> T:
    """Calls one of two functions, whose results may vary over different axes.

    What a condition chooses that differs from device to device, differs too.
    """
    if not _in_shard_map():
        return jax.lax.cond(holds, on_true, on_false)
    first, second = jax.eval_shape(on_true), jax.eval_shape(on_false)

    def varying(branch: Callable[[], T]) -> Callable[[], T]:
        return lambda: varying_as(varying_like(varying_like(branch(), first), second), holds)

    return jax.lax.cond(holds, varying(on_true), varying(on_false))


def while_loop(goes_on: Callable[[T], Any], body: Callable[[T], T], start: T) -> T:
    """Repeats `body` while `goes_on`; the carry varies over the same axes from the start.

    Where devices end at different numbers of iterations, all of it varies.
    """
    while _in_shard_map():
        varying = varying_like(start, jax.eval_shape(body, start))
        varying = varying_as(varying, jax.eval_shape(goes_on, varying))
        same = jax.tree.map(lambda x, y: _axes(x) == _axes(y), varying, start)
        start = varying
        if all(jax.tree.leaves(same)):
            break
    return jax.lax.while_loop(goes_on, body, start)


def _in_shard_map() -> bool:
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _axes(x: Any) -> Axes:
    """Returns the axes over which an array, or the shape of one, varies."""
    aval = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
    kind = getattr(aval, "manual_axis_type", None)  # which JAX before 0.10 does not have
    return (getattr(aval, "vma", None) if kind is None else kind.varying) or frozenset()


def _vary(x: Any, axes: Axes) -> Any:
    missing = tuple(sorted(axes - _axes(x)))
    return jax.lax.pcast(jnp.asarray(x), missing, to="varying") if missing else x
