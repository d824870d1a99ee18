"""Types of arrays within `jax.shard_map`, where values may differ from device to device.

There the type of an array says over which axes of the mesh it varies. Zeros do not vary, and
values computed from a device's gradient do. Both branches of a condition, and the carry of a loop
at each iteration, must have the same type; so arrays are made to vary where others do.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..protocol import PyTree

__all__ = ["cond", "varying_as", "varying_like", "while_loop"]

Array = jax.Array
Axes = frozenset[str]
T = TypeVar("T")


def varying_as(tree: T, *like: PyTree) -> T:
    """Makes the arrays of a tree vary over all axes over which some array of `like` varies."""
    if not _in_shard_map():
        return tree
    axes = frozenset().union(*map(_axes, jax.tree.leaves(like)))
    return jax.tree.map(lambda x: _vary(x, axes), tree)


def varying_like(tree: T, like: PyTree) -> T:
    """Makes each array of a tree vary over the axes of its counterpart in another tree."""
    if not _in_shard_map():
        return tree
    return jax.tree.map(lambda x, y: _vary(x, _axes(y)), tree, like)


def cond(condition: Array, on_true: Callable[[], T], on_false: Callable[[], T]) -> T:
    """Calls one of two functions, whose results may vary over different axes.

    Where the condition varies from device to device, the results vary over its axes too.
    """
    if not _in_shard_map():
        return jax.lax.cond(condition, on_true, on_false)
    # Each branch must return what both branches need, which is known only from their results.
    first, second = jax.eval_shape(on_true), jax.eval_shape(on_false)

    def varying(branch: Callable[[], T]) -> Callable[[], T]:
        return lambda: varying_as(varying_like(varying_like(branch(), first), second), condition)

    return jax.lax.cond(condition, varying(on_true), varying(on_false))


def while_loop(condition: Callable[[T], Array], body: Callable[[T], T], start: T) -> T:
    """Repeats `body` while `condition` is true; the carry varies over the same axes from the start.

    Where devices stop after different numbers of iterations, all of the carry varies.
    """
    # An iteration may add axes to a part of the carry, and the next one to others.
    while _in_shard_map():
        varying = varying_like(start, jax.eval_shape(body, start))
        varying = varying_as(varying, jax.eval_shape(condition, varying))
        same = jax.tree.map(lambda x, y: _axes(x) == _axes(y), varying, start)
        start = varying
        if all(jax.tree.leaves(same)):
            break
    return jax.lax.while_loop(condition, body, start)


def _in_shard_map() -> bool:
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _axes(x: ArrayLike | jax.ShapeDtypeStruct) -> Axes:
    """Returns the axes over which an array, or the shape of one, varies."""
    aval = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
    kind = getattr(aval, "manual_axis_type", None)  # JAX before 0.10 has `vma` instead
    return (getattr(aval, "vma", None) if kind is None else kind.varying) or frozenset()


def _vary(x: ArrayLike, axes: Axes) -> ArrayLike:
    """Makes an array vary over some axes, besides those over which it varies already."""
    missing = tuple(sorted(axes - _axes(x)))
    return jax.lax.pcast(jnp.asarray(x), missing, to="varying") if missing else x
