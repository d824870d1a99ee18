"""Distributions of noise, with samplers and log densities."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

__all__ = ["Gumbel", "Noise", "Normal"]

Array = jax.Array


class Noise(Protocol):
    """A distribution of noise for `make_perturbed_fun`."""

    def sample(
        self, key: Array, sample_shape: Sequence[int] = (), dtype: DTypeLike = float
    ) -> Array:
        """Returns independent samples."""

    def log_prob(self, inputs: Array) -> Array:
        """Returns the logarithm of the density at each element, up to a constant."""


@dataclasses.dataclass(frozen=True)
class Normal:
    """The normal distribution of mean 0 and variance 1.

    Example:
      >>> Normal().sample(jax.random.key(0), (2, 3)).shape
      (2, 3)
      >>> float(Normal().log_prob(jnp.array(2.0)))
      -2.0
    """

    def sample(
        self, key: Array, sample_shape: Sequence[int] = (), dtype: DTypeLike = float
    ) -> Array:
        """Returns independent samples `sample_shape`."""
        return jax.random.normal(key, sample_shape, dtype)

    def log_prob(self, inputs: Array) -> Array:
        """Returns -x^2 / 2 of each element x: the logarithm of the density, up to a constant."""
        return -0.5 * jnp.square(inputs)


@dataclasses.dataclass(frozen=True)
class Gumbel:
    """The Gumbel distribution of location 0 and scale 1.

    The argmax of scores with such noise is distributed as their softmax.

    Example:
      >>> Gumbel().sample(jax.random.key(0), (2, 3)).shape
      (2, 3)
      >>> float(Gumbel().log_prob(jnp.array(0.0)))
      -1.0
    """

    def sample(
        self, key: Array, sample_shape: Sequence[int] = (), dtype: DTypeLike = float
    ) -> Array:
        """Returns independent samples `sample_shape`."""
        return jax.random.gumbel(key, sample_shape, dtype)

    def log_prob(self, inputs: Array) -> Array:
        """Returns -x - exp(-x) of each element x: the logarithm of the density."""
        return -inputs - jnp.exp(-inputs)
