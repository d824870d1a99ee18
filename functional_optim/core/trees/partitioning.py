"""Tells the compiler how to shard an array of a program that runs on several devices."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from ..protocol import PyTree

__all__ = ["partitioned_as", "partitioned_like"]

Array = jax.Array
T = TypeVar("T")


def partitioned_as(y: Array, x: Array) -> Array:
    """Returns y, which the partitioner of a program shards as x, of the same shape.

    The partitioner propagates shardings through elementwise operations. So y goes through a
    `select` with x, whose condition the compiler resolves only after partitioning: it is y.
    `jax.experimental.shard_alike`, which JAX had until 0.11.2, does not work here. All calls of one
    function share its groups, and equal constants are one array, which is then in all groups; so
    all leaves of one shape were sharded as one of them.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:  # the sharding is in the type of x
        y = jax.sharding.reshard(y, sharding)
    never = jax.lax.optimization_barrier(np.zeros((), np.bool_))
    x = jnp.real(x) if not jnp.iscomplexobj(y) else x
    return jax.lax.select_n(never, y, x.astype(y.dtype))


def partitioned_like(new: T, old: PyTree) -> T:
    """Returns a state whose arrays the partitioner shards as those of the state before the update.

    Otherwise it may divide a matrix that was replicated, and the next step would be compiled
    again. Arrays that only one of the states has, or with other shapes, are returned unchanged.
    """
    if jax.device_count() == 1 or jax.sharding.get_abstract_mesh().manual_axes:
        return new
    before = dict(jax.tree_util.tree_flatten_with_path(old)[0])

    def partitioned(path: tuple[Any, ...], y: Array) -> Array:
        x = before.get(path)
        is_program = isinstance(y, jax.core.Tracer) and y.ndim > 0
        if x is None or not is_program or jnp.shape(x) != y.shape:
            return y
        is_typed = AxisType.Explicit in jax.typeof(y).sharding.mesh.axis_types
        return y if is_typed else partitioned_as(y, jnp.asarray(x))

    return jax.tree_util.tree_map_with_path(partitioned, new)
