"""Sums over a real array.

They are written as sums of products, because dot products have a lower precision on accelerators.
"""

import jax
import jax.numpy as jnp

__all__ = ["inner_product", "sum_of_magnitudes", "sum_of_squares"]

Array = jax.Array


def inner_product(a: Array, b: Array) -> Array:
    """Computes the inner product `()` of two arrays of one shape."""
    return jnp.sum(a * b)


def sum_of_squares(x: Array) -> Array:
    """Computes the squared Euclidean norm `()` of an array."""
    return jnp.sum(jnp.square(x))


def sum_of_magnitudes(x: Array) -> Array:
    """Computes the sum `()` of the magnitudes of an array's elements."""
    return jnp.sum(jnp.abs(x))
