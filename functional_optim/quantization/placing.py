"""Shards quantized and decoded arrays like the array that they are computed from."""

from collections.abc import Callable

import jax
from jax.sharding import AxisType, NamedSharding

from ..core.protocol import PyTree
from ..core.trees.placement import Specs, auto_sharded, partitioned_as, sharding_for

__all__ = ["placed"]

Array = jax.Array


def placed(
    function: Callable[..., PyTree], specs: Specs, x: Array, *others: Array | None
) -> PyTree:
    """Calls a function of an array x, and shards the results as x.

    XLA propagates the sharding of x to the codes only for some divisions into blocks. If shardings
    are in the types of arrays, JAX propagates it for none.

    Args:
      function: `(x, *others) -> arrays`; results with the shape of x are sharded as x.
      specs: the partition specs of the results.
      x: the array.
      others: further arguments of the function.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        return auto_sharded(function, specs, x, *others)
    results = function(x, *others)
    if isinstance(x, jax.core.Tracer):
        if jax.device_count() == 1:
            return results
        return jax.tree.map(lambda y: _partitioned_as(y, x), results)
    sharding = getattr(x, "sharding", None)  # an array of NumPy has none
    if not isinstance(sharding, NamedSharding):
        return results
    mesh, out_specs = sharding.mesh, specs(x.shape, sharding.spec, sharding.mesh)
    return jax.tree.map(
        lambda y, spec: jax.device_put(y, sharding_for(y, mesh, spec)), results, out_specs
    )


def _partitioned_as(y: Array, x: Array) -> Array:
    return partitioned_as(y, x) if y.shape == x.shape else y
