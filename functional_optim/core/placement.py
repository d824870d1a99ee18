"""Where arrays of the state live: with the parameters."""

from collections.abc import Callable, Sequence

import jax
from jax.experimental.shard_alike import shard_alike
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["alike", "beside"]

Array = jax.Array


def alike(slot: Array, p: Array) -> Array:
    """The slot, sharded as the parameter where it has its shape.

    Zeros know nothing of the parameter that they were made for once a program is compiled;
    outside of one they are made in its place.
    """
    traced = isinstance(slot, jax.core.Tracer) or isinstance(p, jax.core.Tracer)
    return shard_alike(slot, p)[0] if traced and slot.shape == p.shape else slot


def beside(params: Sequence[Array]) -> Callable[[Array], Array]:
    """A function that places a scalar on all devices of the parameters' mesh.

    There a step's scalars come out; left on one device, they would make the second call of
    a compiled step compile again.
    """
    for p in params:
        sharding = None if isinstance(p, jax.core.Tracer) else p.sharding
        if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, jax.sharding.Mesh):
            everywhere = NamedSharding(sharding.mesh, PartitionSpec())
            return lambda x: x if isinstance(x, jax.core.Tracer) else jax.device_put(x, everywhere)
    return lambda x: x
