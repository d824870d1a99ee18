"""Tells the compiler how to shard an array of a program that runs on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

__all__ = ["partitioned_as"]

Array = jax.Array


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
