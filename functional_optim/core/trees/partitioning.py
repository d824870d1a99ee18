"""Where the compiler puts an array of a program that runs on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

__all__ = ["partitioned_as"]

Array = jax.Array


def partitioned_as(y: Array, x: Array) -> Array:
    """Returns y, which the partitioner of a program shards as x, of the same shape.

    Shardings pass through elementwise operations, and so y goes through one with x, of which the
    compiler learns only after partitioning that it selects y. A group of shardings (JAX had one as
    `jax.experimental.shard_alike` until 0.11.2) does not do: all calls of one function share its
    groups, and equal constants are one array and so in all groups, so that leaves of one shape
    were sharded as one of them, whatever the shardings of the others.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:  # there the types of arrays say it
        y = jax.sharding.reshard(y, sharding)
    never = jax.lax.optimization_barrier(np.zeros((), np.bool_))
    x = jnp.real(x) if not jnp.iscomplexobj(y) else x
    return jax.lax.select_n(never, y, x.astype(y.dtype))
