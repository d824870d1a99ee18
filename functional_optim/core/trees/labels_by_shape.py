"""Computes labels from paths and shapes alone, where the parameters are not known."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from ..protocol import PyTree
from .structure import is_sparse

__all__ = ["labels_by_shape"]

T = TypeVar("T")


def labels_by_shape(label: Callable[[PyTree], T], updates: PyTree) -> T | None:
    """Returns the labels of all parameters that have such updates; None if these do not agree.

    An update has the path and the shape of its parameter, and may differ in its dtype. So the
    function is called with abstract arrays of these shapes, in each dtype that parameters have.
    Its labels are returned if they are the same for all dtypes, and need no values.

    Args:
      label: makes labels that can be compared.
    """
    if any(x is None for x in jax.tree.leaves(updates, is_leaf=_is_update)):
        return None  # a missing update says nothing of its parameter's shape
    labels: list[T] = []
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64):
        try:
            jax.eval_shape(lambda p: labels.append(label(p)), _shapes(updates, dtype))
        except jax.errors.ConcretizationTypeError:  # the function reads values
            return None
    return labels[0] if all(x == labels[0] for x in labels) else None


def _is_update(x: object) -> bool:
    return x is None or is_sparse(x)


def _shapes(updates: PyTree, dtype: DTypeLike) -> PyTree:
    dtype = jax.dtypes.canonicalize_dtype(dtype)

    def shape(g: ArrayLike) -> jax.ShapeDtypeStruct:
        is_complex = jnp.issubdtype(jnp.result_type(g), jnp.complexfloating)
        return jax.ShapeDtypeStruct(jnp.shape(g), jnp.complex64 if is_complex else dtype)

    return jax.tree.map(shape, updates, is_leaf=is_sparse)
