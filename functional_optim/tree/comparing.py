"""Whether trees are equal."""

from typing import Any

import jax
import jax.numpy as jnp

from .reductions import in_wide

__all__ = ["allclose"]

Array = jax.Array


def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Array:
    """Tells whether all elements are equal within |a - b| <= atol + rtol |b|.

    Returns:
      Boolean scalar `()`; True for trees without arrays.

    Example:
      >>> bool(allclose({"a": jnp.array(1.0)}, {"a": jnp.array(1.000001)}))
      True
    """

    def leaf(x: Any, y: Any) -> Array:
        return jnp.allclose(in_wide(x), in_wide(y), rtol=rtol, atol=atol, equal_nan=equal_nan)

    found = jax.tree.leaves(jax.tree.map(leaf, a, b))
    return jnp.stack(found).all() if found else jnp.array(True)
