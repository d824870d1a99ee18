"""The dtypes in which numbers are computed and stored, and casts between them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..protocol import PyTree

__all__ = [
    "TINY",
    "cast",
    "compute_dtype",
    "hyper_dtype",
    "one_minus_power",
    "real_dtype",
    "safe_increment",
    "safe_log",
    "safe_sqrt",
    "wider",
]

Array = jax.Array

TINY = float(np.finfo(np.float32).tiny)
"""The smallest normal number of float32: a floor of divisors that is not 0 in any precision."""


def hyper_dtype() -> np.dtype[Any]:
    """Returns the dtype of hyperparameters and step scalars: float32, or float64 under x64."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def compute_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Returns the dtype in which a leaf is computed: its dtype, or float32 if that is narrower."""
    return jnp.dtype(np.float32) if jnp.dtype(dtype).itemsize < 4 else jnp.dtype(dtype)


def real_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Returns the dtype of the real part of an inexact dtype.

    `x.real.dtype` is the same, and compiles a program for each shape that x has.
    """
    return jnp.finfo(dtype).dtype


def wider(a: DTypeLike, b: DTypeLike) -> np.dtype[Any]:
    """Returns the wider of two inexact dtypes; float32 for bfloat16 with float16.

    Strict promotion forbids `jnp.promote_types`, and a gradient need not have its
    parameter's dtype.
    """
    a, b = jnp.dtype(a), jnp.dtype(b)
    if a == b:
        return a
    # A complex and a real dtype: the result is complex, and as precise as the better of the two.
    if jnp.issubdtype(a, jnp.complexfloating) != jnp.issubdtype(b, jnp.complexfloating):
        return np.promote_types(compute_dtype(a), compute_dtype(b))
    if a.itemsize == b.itemsize:
        return compute_dtype(a)
    return a if a.itemsize > b.itemsize else b


def cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """Casts the inexact arrays of a tree to `dtype`; integers keep their dtype.

    Complex arrays stay complex, in the precision of a `dtype` that is real.
    """
    leaves, treedef = jax.tree.flatten(tree)
    for i, x in enumerate(leaves):
        # Integers are counts and indices, which a float may round.
        if x.dtype == dtype or not jnp.issubdtype(x.dtype, jnp.inexact):
            continue
        target = dtype
        if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
            target = jnp.complex128 if jnp.dtype(dtype).itemsize == 8 else jnp.complex64
        leaves[i] = x if x.dtype == target else x.astype(target)
    return jax.tree.unflatten(treedef, leaves)


def safe_log(b: Array) -> Array:
    """Computes log(max(b, tiny)): at b = 0, neither log(b) nor its derivative is finite."""
    return jnp.log(jnp.maximum(b, jnp.finfo(b.dtype).tiny))


def one_minus_power(b: Array, n: Array) -> Array:
    """Computes `1 - b**n` without cancellation, for `b` in [0, 1] and `n` >= 0.

    In float32 the plain formula is off by up to 1.7e-4 (b = 0.9999); this one by about 2e-7.
    """
    return -jnp.expm1(n * safe_log(b))


@jax.custom_jvp
def safe_sqrt(x: Array) -> Array:
    """Computes a square root whose derivative at 0 is 0 and not infinite."""
    return jax.lax.sqrt(x)


@safe_sqrt.defjvp
def _safe_sqrt_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x,), (tangent,) = primals, tangents
    root = safe_sqrt(x)
    positive = root > 0
    # The inner `where` avoids 0.5 / 0, which second derivatives would turn into NaN.
    slope = jnp.where(positive, 0.5 / jnp.where(positive, root, 1), 0)
    return root, slope * tangent


def safe_increment(count: Array) -> Array:
    """Adds one to a counter, which stays at its largest value instead of wrapping around.

    Raises:
      ValueError: the counter is boolean or complex.
    """
    if count.dtype == jnp.bool_ or jnp.issubdtype(count.dtype, jnp.complexfloating):
        raise ValueError(
            f"safe_increment: count must be of integers or floats, got {count.dtype}. Convert it."
        )
    one = np.array(1, count.dtype)  # of the same dtype, as strict promotion demands
    if not jnp.issubdtype(count.dtype, jnp.integer):
        return jnp.minimum(count + one, jnp.finfo(count.dtype).max)
    # Bounded before the addition, which would wrap around.
    return jnp.minimum(count, np.array(np.iinfo(count.dtype).max, count.dtype) - one) + one
