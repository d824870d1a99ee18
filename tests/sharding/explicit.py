"""Arrays on a mesh where shardings are in types."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding


def make_mesh():
    """Makes a mesh of eight devices as 4 by 2, with explicit axes."""
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)


def arrays(mesh, shapes, specs, dtype=np.float32, seed=0):
    """Draws random arrays of these shapes, sharded by the specs."""
    rng = np.random.default_rng(seed)
    return {
        k: jax.device_put(
            jnp.asarray(rng.standard_normal(shapes[k]), dtype), NamedSharding(mesh, spec)
        )
        for k, spec in specs.items()
    }


def types(mesh, shapes, specs, dtype=np.float32):
    """Returns the types of such arrays, which are all that a rule is traced with."""
    return {
        k: jax.ShapeDtypeStruct(shapes[k], dtype, sharding=NamedSharding(mesh, spec))
        for k, spec in specs.items()
    }
