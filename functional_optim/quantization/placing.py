"""Where what is encoded and decoded lies: with the array that it is made of."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding

from ..core.trees.partitioning import partitioned_as
from ..core.trees.placement import Specs, auto_sharded, sharding_for

__all__ = ["placed"]

Array = jax.Array


def placed(function: Callable[..., Any], specs: Specs, x: Array, *rest: Any) -> Any:
    """Calls a function of an array x, and puts what it makes with x.

    XLA does not see for every division into blocks that codes belong where x is. Where shardings
    are in the types of arrays, JAX does not know it for any.

    Args:
      function: `(x, *rest) -> arrays`, of which those with the shape of x lie as x does.
      specs: of what it makes.
    """
    sharding = jax.typeof(x).sharding
    if AxisType.Explicit in sharding.mesh.axis_types:
        return auto_sharded(function, specs, x, *rest)
    made = function(x, *rest)
    if isinstance(x, jax.core.Tracer):
        return made if jax.device_count() == 1 else jax.tree.map(lambda y: _alike(y, x), made)
    there = getattr(x, "sharding", None)  # an array of NumPy is nowhere
    if not isinstance(there, NamedSharding):
        return made
    known = specs(x.shape, there.spec, there.mesh)
    return jax.tree.map(
        lambda y, spec: jax.device_put(y, sharding_for(y, there.mesh, spec)), made, known
    )


def _alike(y: Array, x: Array) -> Array:
    return partitioned_as(y, x) if y.shape == x.shape else y
