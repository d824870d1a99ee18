"""Inverse roots of the factors of Shampoo, by the names of their methods."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..linear_algebra import matrix_inverse_pth_root

__all__ = ["METHODS", "Damping", "InverseRoot", "adjoint", "inverse_root"]

Array = jax.Array

METHODS = ("eigh", "newton", "qr")
"""Eigendecomposition, coupled Newton iteration, and a step of QR from the last eigenvectors."""

MAX_ERROR = 0.1
"""Anil et al., code: a root of the Newton iteration is used if max |M - 1| is not above this."""

HIGHEST = jax.lax.Precision.HIGHEST


class Damping(NamedTuple):
    """The treatment of small eigenvalues.

    Attributes:
      eps: added to the eigenvalues, `()`.
      is_relative: whether eps is in units of the largest eigenvalue.
      is_pseudo: whether eigenvalues that are 0 up to rounding get a root of 0.
    """

    eps: Array
    is_relative: bool
    is_pseudo: bool


class InverseRoot(NamedTuple):
    """The results of `inverse_root`."""

    root: Array  # (..., n, n)
    basis: Array | None  # (..., n, n), the eigenvectors or an estimate of them, as columns
    failed: Array  # (...)


def inverse_root(
    method: str, factor: Array, exponent: float, damping: Damping, basis: Array | None
) -> InverseRoot:
    """Computes `(factor + eps)^(-exponent)` of Hermitian matrices `(..., n, n)`.

    A root has failed if it is not finite, or if the error of the Newton iteration is above 0.1.

    Args:
      method: one of `METHODS`. "newton" needs an exponent of 1 / p for an integer p, and "qr" a
        basis.
      basis: the last estimate of the eigenvectors.
    """
    one = jnp.eye(factor.shape[-1], dtype=factor.dtype)
    finite = jnp.all(jnp.isfinite(factor), axis=(-2, -1))
    # No decomposition sees what is not finite, because not each of them ends.
    factor = jnp.where(finite[..., None, None], factor, one)
    if method == "newton":
        root, error = matrix_inverse_pth_root(
            factor, round(1 / exponent), ridge_epsilon=damping.eps, relative=damping.is_relative
        )
        new, failed = None, ~(error <= MAX_ERROR)
    else:
        if method == "eigh":
            values, new = jnp.linalg.eigh(factor)
        else:
            assert basis is not None
            values, new = _qr_step(factor, basis, damping)
        powers = _inverse_powers(values, exponent, damping)[..., None, :].astype(factor.dtype)
        root = jnp.matmul(new * powers, adjoint(new), precision=HIGHEST)
        failed = jnp.zeros(finite.shape, bool)
    failed = failed | ~finite | ~jnp.all(jnp.isfinite(root), axis=(-2, -1))
    return InverseRoot(root, new if method == "qr" else None, failed)


def adjoint(x: Array) -> Array:
    """Returns the conjugate transposes of matrices."""
    return jnp.conj(jnp.swapaxes(x, -2, -1))


def _inverse_powers(values: Array, exponent: float, damping: Damping) -> Array:
    """Computes `(values + eps)^(-exponent)` of eigenvalues `(..., n)`, which should be positive."""
    largest = jnp.max(values, axis=-1, keepdims=True)
    ridge = _ridge(largest, damping)
    rounding = values.shape[-1] * jnp.finfo(values.dtype).eps * largest
    if damping.is_pseudo:
        is_zero = values <= rounding
        powers = jnp.where(is_zero, 1.0, values + ridge) ** -exponent
        return jnp.where(is_zero, 0.0, powers)
    # Rounding makes some zeros negative. Without eps, those that it makes positive would have
    # large and finite roots, in place of infinite ones, which are refused.
    lifted = values - jnp.minimum(jnp.min(values, axis=-1, keepdims=True), 0.0)
    lifted = jnp.where((damping.eps == 0) & (values <= rounding), 0.0, lifted)
    return (lifted + ridge) ** -exponent


def _ridge(largest: Array, damping: Damping) -> Array:
    return damping.eps * largest if damping.is_relative else damping.eps


def _qr_step(factor: Array, basis: Array, damping: Damping) -> tuple[Array, Array]:
    """Takes a step of the QR algorithm: orthogonal iteration of a basis.

    Returns:
      Estimates of the eigenvalues in ascending order, and of the eigenvectors.
    """
    n = factor.shape[-1]
    inside = jnp.matmul(jnp.matmul(adjoint(basis), factor, precision=HIGHEST), basis)
    largest = jnp.max(_diagonal(inside), axis=-1, keepdims=True)
    ridge = jnp.broadcast_to(_ridge(largest, damping), largest.shape)[..., None]
    q, r = jnp.linalg.qr(inside + ridge.astype(factor.dtype) * jnp.eye(n, dtype=factor.dtype))
    values = _diagonal(jnp.matmul(r, q, precision=HIGHEST)) - ridge[..., 0]
    basis = jnp.matmul(basis, q, precision=HIGHEST)
    order = jnp.argsort(values, axis=-1)
    values = jnp.take_along_axis(values, order, axis=-1)
    return values, jnp.take_along_axis(basis, order[..., None, :], axis=-1)


def _diagonal(x: Array) -> Array:
    return jnp.diagonal(x, axis1=-2, axis2=-1).real
