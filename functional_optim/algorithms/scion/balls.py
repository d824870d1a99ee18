"""Norms of layers, and the elements of their unit balls that minimize a linear function."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ...core.trees.norms import scaled_norm_along
from ...transforms.matrices import Blocks, MatrixAxes
from ..newton_schulz import STANDARD, Rounds, newton_schulz

__all__ = ["NORMS", "Ball", "Orthogonalizer", "ScionNorm"]

Array = jax.Array

NORMS = ("spectral", "sign", "col_norm", "row_norm", "bias_rms")

EPS = 1e-8
"""Added to norms, as in the authors' code."""


@dataclasses.dataclass(frozen=True)
class ScionNorm:
    """A norm of a layer's parameter, over whose unit ball Scion minimizes.

    For a matrix G of `outputs` and `inputs`, in the paper's orientation, the minimizer of
    -<G, X> over the ball is, for each name:

        spectral    sqrt(outputs / inputs) U V^T, of the singular vectors of G
        sign        sign(G) / inputs
        col_norm    for each input, its outputs scaled to a root mean square of 1
        row_norm    for each output, its inputs scaled to a root mean square of 1 / inputs
        bias_rms    the last axis scaled to a root mean square of 1; for vectors

    Args:
      name: the norm.
      normalized: whether the inputs have a root mean square near 1, so that the minimizer is
        divided by sqrt(inputs) for spectral and row_norm, and by inputs for sign and col_norm. None
        is True, and False for col_norm. False is for the first layer of one-hot inputs: embeddings.
      at_least_one: whether the factor of spectral is at least 1, for the first layer of images.
      window: axes of the parameter that are the positions of a convolution; `inputs` are then
        the channels alone, and the minimizer is divided by the number of positions. None to
        recognize convolutions by their names, `()` for none.

    Raises:
      ValueError: name is unknown.

    Example:
      >>> import functional_optim as fo
      >>> fo.ScionNorm("sign", normalized=False).name
      'sign'

    Reference: Pethick et al., Training deep learning models with norm-constrained LMOs, ICML 2025,
    arXiv:2502.07529.
    """

    name: str = "spectral"
    normalized: bool | None = None
    at_least_one: bool = False
    window: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.name not in NORMS:
            raise ValueError(
                f"ScionNorm: name must be one of {', '.join(map(repr, NORMS))}, got {self.name!r}."
            )
        if self.normalized is None:
            object.__setattr__(self, "normalized", self.name != "col_norm")


@dataclasses.dataclass(frozen=True)
class Orthogonalizer:
    """A function that orthogonalizes matrices; the fields are arguments of `newton_schulz`."""

    ns_coeffs: Rounds | str = STANDARD
    ns_steps: int | None = None
    ns_dtype: DTypeLike | None = None
    method: str = "newton_schulz"

    def __call__(self, x: Array) -> Array:
        """Orthogonalizes matrices `(n, rows, columns)`."""
        return newton_schulz(
            x, self.ns_coeffs, self.ns_steps, ns_dtype=self.ns_dtype, method=self.method
        )


@dataclasses.dataclass(frozen=True)
class Ball:
    """The unit ball of one parameter.

    Attributes:
      norm: its norm; the field `window` of this class replaces the window of the norm.
      axes: the axes of its matrices; None for norms that need none.
      window: axes of the positions of a convolution.
    """

    norm: ScionNorm
    axes: MatrixAxes | None
    window: tuple[int, ...] = ()

    def minimizer(self, x: Array, orthogonalizer: Orthogonalizer) -> Array:
        """Returns the element of the unit ball that has the largest inner product with x."""
        if x.size == 0:
            return x
        if self.axes is None:
            return _of_vectors(x, self.norm)
        blocks = Blocks(self.axes, x.shape)
        positions = math.prod(x.shape[i] for i in self.window)
        parts = [_of_matrices(m, self.norm, positions, orthogonalizer) for m in blocks.split(x)]
        return blocks.join(parts, x)

    def random_element(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Draws an element of the unit sphere: the minimizer of normal numbers; 0 for bias_rms."""
        if self.norm.name == "bias_rms":
            return jnp.zeros(shape, dtype)
        x = jax.random.normal(key, shape, dtype)
        ball, share = self, 1.0
        if self.norm.name == "spectral" and self.window and self.axes is not None:
            # As in the authors' code, which draws an orthogonal matrix for each position.
            _, inputs, _ = self.axes.axes(shape)
            channels = tuple(i for i in inputs if i not in self.window)
            ball = Ball(self.norm, dataclasses.replace(self.axes, inputs=channels, split_inputs=1))
            share = 1 / math.prod(shape[i] for i in self.window)
        # The polar factor of a normal matrix has the uniform distribution.
        return jnp.asarray(share, dtype) * ball.minimizer(x, Orthogonalizer(method="svd"))


def _of_vectors(x: Array, norm: ScionNorm) -> Array:
    """Minimizes over a parameter without matrices, by elements or along the last axis."""
    if norm.name == "sign":
        return jnp.sign(x)
    last = x.shape[-1] if x.ndim else 1
    # The root mean square of the last axis.
    return x / (scaled_norm_along(x, -1 if x.ndim else None) / last**0.5 + EPS).astype(x.dtype)


def _of_matrices(
    x: Array, norm: ScionNorm, positions: int, orthogonalizer: Orthogonalizer
) -> Array:
    """Minimizes over matrices `(n, inputs, outputs)`, whose inputs include the positions."""
    if 0 in x.shape:
        return x
    inputs, outputs = x.shape[-2] / positions, x.shape[-1]
    if norm.name == "spectral":
        scale = math.sqrt(outputs / inputs if norm.normalized else outputs)
        if norm.at_least_one:
            scale = max(1.0, scale)
        return jnp.asarray(scale / positions, x.dtype) * orthogonalizer(x)
    if norm.name == "sign":
        return jnp.sign(x) / jnp.asarray(x.shape[-2] if norm.normalized else 1, x.dtype)
    if norm.name == "col_norm":
        size = scaled_norm_along(x, -1) * (outputs**-0.5 * (x.shape[-2] if norm.normalized else 1))
    else:
        size = scaled_norm_along(x, -2) * (x.shape[-2] ** 0.5 if norm.normalized else 1)
    return x / (size + EPS).astype(x.dtype)
