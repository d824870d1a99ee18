"""Matrices in the last two axes of an array, real or complex; other axes are batch axes."""

import jax
import jax.numpy as jnp

__all__ = [
    "adjoint",
    "as_matrices",
    "diagonal",
    "matrix_axes",
    "matrix_shape",
    "precise_product",
    "squares",
    "times",
    "transposed",
]

Array = jax.Array


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape with at least two axes: a vector is a matrix of one row."""
    return (1,) * (2 - len(shape)) + shape


def as_matrices(x: Array) -> Array:
    """Returns an array with at least two axes: a vector is a matrix of one row."""
    return x.reshape(matrix_shape(x.shape))


def matrix_axes(x: Array) -> tuple[int, ...]:
    """Returns the axes of the matrices: the last two, or fewer if the array has fewer."""
    return tuple(range(max(x.ndim - 2, 0), x.ndim))


def transposed(x: Array) -> Array:
    """Returns the transposes."""
    return jnp.swapaxes(x, -2, -1)


def adjoint(x: Array) -> Array:
    """Returns the conjugate transposes."""
    return jnp.conj(transposed(x))


def diagonal(x: Array) -> Array:
    """Returns the diagonals `(..., n)`."""
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def precise_product(x: Array, y: Array) -> Array:
    """Multiplies matrices in full precision; by default, accelerators round the factors."""
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def squares(x: Array) -> Array:
    """Returns the squared magnitudes of the elements."""
    # The parts are squared, because jnp.abs takes a root, which a square would undo.
    return jnp.square(x) if not jnp.iscomplexobj(x) else jnp.square(x.real) + jnp.square(x.imag)


def times(real: Array, x: Array) -> Array:
    """Multiplies an array by a real array or scalar."""
    # Strict promotion forbids the product of a real and a complex array.
    return real.astype(x.dtype) * x
