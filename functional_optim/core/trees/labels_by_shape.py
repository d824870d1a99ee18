"""Labels without the parameters: those of which their paths and shapes decide."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..protocol import PyTree
from .sparse_rows import is_sparse

__all__ = ["labels_by_shape"]


def labels_by_shape(label: Callable[[PyTree], Any], updates: PyTree) -> Any:
    """Returns the labels that fit these updates, without the parameters; None if there are none.

    An update has the path and the shape of its parameter; dtype and values are its own. So the
    function sees arrays of these shapes in each narrow and wide dtype, without values, and its
    labels count where they are the same for all.

    Args:
      label: makes labels that can be compared.
    """
    if any(x is None for x in jax.tree.leaves(updates, is_leaf=_is_update)):
        return None  # what is not there has a path, too
    found: list[Any] = []
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64):
        try:
            jax.eval_shape(lambda p: found.append(label(p)), _shapes(updates, dtype))
        except jax.errors.ConcretizationTypeError:  # it asks for values
            return None
    return found[0] if all(x == found[0] for x in found) else None


def _is_update(x: Any) -> bool:
    return x is None or is_sparse(x)


def _shapes(updates: PyTree, dtype: Any) -> PyTree:
    dtype = jax.dtypes.canonicalize_dtype(dtype)

    def shape(g: Any) -> jax.ShapeDtypeStruct:
        parts = jnp.complex64 if jnp.issubdtype(jnp.result_type(g), jnp.complexfloating) else dtype
        return jax.ShapeDtypeStruct(jnp.shape(g), parts)

    return jax.tree.map(shape, updates, is_leaf=is_sparse)
