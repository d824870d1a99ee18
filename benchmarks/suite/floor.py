"""The shortest time that the machine's memory allows, measured in the same run."""

import jax
import jax.numpy as jnp
import numpy as np

from .contestants import Contestant
from .trees import Tree

__all__ = ["Triad", "largest"]

BYTES = 28
"""Of Adam in float32, for one parameter: g, m, v and p are read, m, v and p are written."""


class Triad(Contestant):
    """`a = b + 2 c` over as many bytes as Adam's step has to touch, donating a."""

    def __init__(self, tree: Tree):
        length = _touched(tree) // 12
        self._a, self._b, self._c = (jnp.full(length, x, jnp.float32) for x in (0.0, 1.0, 2.0))
        self._jitted = jax.jit(lambda a, b, c: b + 2 * c, donate_argnums=0, keep_unused=True)

    def steps(self, n: int) -> None:
        for _ in range(n):
            self._a = self._jitted(self._a, self._b, self._c)
        self._a.block_until_ready()


def _touched(tree: Tree) -> int:
    """Counts the bytes that a step of Adam cannot do without."""
    numbers = sum(int(np.prod(shape)) for shape in tree.shapes())
    narrow = 3 * (4 - np.dtype(jnp.dtype(tree.dtype)).itemsize)  # g is read, p read and written
    return numbers * (BYTES - narrow)


def largest(tree: Tree) -> int:
    """Counts the bytes of the largest leaf, in float32."""
    return max(4 * int(np.prod(shape)) for shape in tree.shapes())
