"""States with arbitrary numbers, which need no training."""

from typing import Any

import jax
import numpy as np


def filled(like: Any) -> Any:
    """Fills a tree of the shapes and dtypes of another with numbers that tell elements apart."""
    rng = np.random.default_rng(0)

    def draw(x: Any) -> Any:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(rng.integers(100)), x.shape)
        numbers = 100 * rng.standard_normal(x.shape)
        return jax.numpy.asarray(numbers > 0 if x.dtype == bool else numbers, x.dtype)

    return jax.tree.map(draw, like)
