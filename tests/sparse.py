"""Sparse gradients that tests share: few rows of a table, some of them twice."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import functional_optim as fo

TABLE = (6, 3)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A gradient as rows and their indices, in NumPy."""

    values: np.ndarray
    indices: np.ndarray
    shape: tuple[int, ...] = TABLE

    @property
    def sparse(self) -> Any:
        """The rows as JAX has them."""
        return fo.row_sparse(jnp.asarray(self.values), jnp.asarray(self.indices), self.shape)

    @property
    def dense(self) -> np.ndarray:
        """The sums of the rows that are in the table, zeros elsewhere."""
        dense = np.zeros(self.shape, self.values.dtype)
        inside = (self.indices >= 0) & (self.indices < self.shape[0])
        np.add.at(dense, self.indices[inside], self.values[inside])
        return dense

    @property
    def touched(self) -> np.ndarray:
        """The rows that have a gradient, each once."""
        return np.unique(self.indices[(self.indices >= 0) & (self.indices < self.shape[0])])


def draw(seed: int, count: int = 5, dtype: Any = np.float32, shape: Any = TABLE) -> Rows:
    """Draws random rows; with more rows than the table has, some occur twice."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, *shape[1:]))
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(values.shape)
    return Rows(values.astype(dtype), rng.integers(0, shape[0] - 1, count), shape)
