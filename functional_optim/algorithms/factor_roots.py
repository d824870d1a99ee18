"""Inverse roots of the factors of Shampoo, by the names of their methods."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..core.numerics.matrices import adjoint, diagonal, precise_product
from ..linear_algebra import matrix_inverse_pth_root

__all__ = ["METHODS", "Damping", "InverseRoot", "inverse_root"]

Array = jax.Array

METHODS = ("eigh", "newton", "qr")
"""Eigendecomposition, coupled Newton iteration, and a step of QR from the last eigenvectors."""

MAX_ERROR = 0.1
"""The largest max |M - 1| with which a root of the Newton iteration is used, as in the code of Anil
et al."""


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
    finite = jnp.all(jnp.isfinite(factor), axis=(-2, -1))
    # Some decompositions never end on a matrix that is not finite: decompose the identity instead.
    factor = jnp.where(finite[..., None, None], factor, _one(factor))
    if method == "newton":
        root, error = matrix_inverse_pth_root(
            factor, round(1 / exponent), ridge_epsilon=damping.eps, relative=damping.is_relative
        )
        new, failed = None, ~(error <= MAX_ERROR)
    else:
        if method == "eigh":
            values, new = jnp.linalg.eigh(jax.lax.stop_gradient(factor))
        else:
            assert basis is not None
            constants = jax.lax.stop_gradient((factor, basis, damping.eps))
            values, new = _qr_step(*constants[:2], damping._replace(eps=constants[2]))
        power = _Power(exponent, damping.is_relative, damping.is_pseudo)
        root = _in_basis(power, factor, damping.eps, values, new)
        failed = jnp.zeros(finite.shape, bool)
    failed = failed | ~finite | ~jnp.all(jnp.isfinite(root), axis=(-2, -1))
    return InverseRoot(root, new if method == "qr" else None, failed)


class _Power(NamedTuple):
    """The static arguments of `_in_basis`."""

    exponent: float
    is_relative: bool
    is_pseudo: bool

    def damped(self, values: Array, eps: Array) -> tuple[Array, Array]:
        """Returns the damped eigenvalues, and which of them have the power 0 instead."""
        largest = jnp.max(values, axis=-1, keepdims=True)
        ridge = _ridge(largest, Damping(eps, self.is_relative, self.is_pseudo))
        rounding = values.shape[-1] * jnp.finfo(values.dtype).eps * largest
        if self.is_pseudo:
            is_zero = values <= rounding
            return jnp.where(is_zero, 1.0, values + ridge), is_zero
        # Rounding makes some eigenvalues of 0 negative, so all are lifted. Without eps, those that
        # it makes positive are set to 0: their roots are then infinite, and so fail, instead of
        # being large and finite.
        lifted = values - jnp.minimum(jnp.min(values, axis=-1, keepdims=True), 0.0)
        lifted = jnp.where((eps == 0) & (values <= rounding), 0.0, lifted)
        return lifted + ridge, jnp.zeros(values.shape, bool)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _in_basis(power: _Power, factor: Array, eps: Array, values: Array, basis: Array) -> Array:
    """Computes the power of a factor from its eigenvalues `(..., n)` and eigenvectors."""
    del factor
    numbers, is_zero = power.damped(values, eps)
    return _assembled(jnp.where(is_zero, 0.0, numbers**-power.exponent), basis)


@_in_basis.defjvp
def _in_basis_jvp(power: _Power, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Differentiates the power by Daleckii & Krein's formula.

    It is finite where eigenvalues are equal, in contrast to the derivative of the eigenvectors.
    """
    (_, eps, values, basis), (d_factor, d_eps, *_) = primals, tangents
    numbers, is_zero = power.damped(values, eps)
    root = _assembled(jnp.where(is_zero, 0.0, numbers**-power.exponent), basis)
    # A root that is not finite has failed and is not used, but its derivative must be finite.
    is_zero = is_zero | (numbers == 0)
    numbers = jnp.where(is_zero, 1.0, numbers)
    powers = jnp.where(is_zero, 0.0, numbers**-power.exponent)
    slopes = jnp.where(is_zero, 0.0, -power.exponent * powers / numbers)
    inside = _into_basis(d_factor, basis)
    if power.is_relative:
        at = jnp.argmax(values, axis=-1, keepdims=True)
        largest, d_largest = (
            jnp.take_along_axis(x, at, axis=-1) for x in (values, diagonal(inside).real)
        )
        d_ridge = d_eps * largest + eps * d_largest
    else:
        d_ridge = jnp.broadcast_to(d_eps, (*values.shape[:-1], 1))
    gaps = numbers[..., :, None] - numbers[..., None, :]
    size = jnp.maximum(numbers[..., :, None], numbers[..., None, :])
    are_equal = jnp.abs(gaps) <= jnp.finfo(values.dtype).eps ** 0.5 * size
    # The divided difference of the power for each pair of eigenvalues; its slope if they are equal.
    differences = powers[..., :, None] - powers[..., None, :]
    means = (slopes[..., :, None] + slopes[..., None, :]) / 2
    quotients = jnp.where(are_equal, means, differences / jnp.where(are_equal, 1.0, gaps))
    inside = quotients.astype(basis.dtype) * inside
    by_factor = precise_product(precise_product(basis, inside), adjoint(basis))
    return root, by_factor + _assembled(slopes * d_ridge, basis)


def _into_basis(factor: Array, basis: Array) -> Array:
    """Returns the factor in the coordinates of a basis."""
    return precise_product(precise_product(adjoint(basis), factor), basis)


def _assembled(values: Array, basis: Array) -> Array:
    """Returns the matrices of these eigenvalues `(..., n)` and eigenvectors."""
    scaled = basis * values[..., None, :].astype(basis.dtype)
    return precise_product(scaled, adjoint(basis))


def _ridge(largest: Array, damping: Damping) -> Array:
    return damping.eps * largest if damping.is_relative else damping.eps


def _qr_step(factor: Array, basis: Array, damping: Damping) -> tuple[Array, Array]:
    """Takes a step of the QR algorithm: orthogonal iteration of a basis.

    Returns:
      Estimates of the eigenvalues in descending order, and of the eigenvectors. The iteration
      would not converge from another order.
    """
    inside = _into_basis(factor, basis)
    largest = jnp.max(diagonal(inside).real, axis=-1, keepdims=True)
    ridge = jnp.broadcast_to(_ridge(largest, damping), largest.shape)[..., None]
    q, r = jnp.linalg.qr(inside + ridge.astype(factor.dtype) * _one(factor))
    values = diagonal(precise_product(r, q)).real - ridge[..., 0]
    basis = precise_product(basis, q)
    order = jnp.argsort(values, axis=-1, descending=True)
    values = jnp.take_along_axis(values, order, axis=-1)
    return values, jnp.take_along_axis(basis, order[..., None, :], axis=-1)


def _one(like: Array) -> Array:
    return jnp.broadcast_to(jnp.eye(like.shape[-1], dtype=like.dtype), like.shape)
