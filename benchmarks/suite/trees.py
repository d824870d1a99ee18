"""Trees of parameters: few large arrays, many small arrays, and those of models."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["TREES", "Shapes", "Tree", "distinct"]

Shapes = list[tuple[int, ...]]


def gpt2_small() -> Shapes:
    """Returns the shapes of the 148 arrays of GPT-2 small, 124,439,808 numbers."""
    d = 768
    block: Shapes = [(d,), (d,), (d, 3 * d), (3 * d,), (d, d), (d,), (d,), (d,)]
    block += [(d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [(50257, d), (1024, d), *block * 12, (d,), (d,)]


def distinct(leaves: int) -> Shapes:
    """Returns as many shapes of about 1,000 numbers, no two of them the same."""
    return [(8 + i % 32, 32 + i // 32) for i in range(leaves)]


def hidden(layers: int, d: int) -> Shapes:
    """Returns the shapes of the four matrices of a transformer's layers."""
    return [(d, d), (d, 3 * d), (d, 4 * d), (4 * d, d)] * layers


class Tree(NamedTuple):
    """Shapes and dtype of parameters, and the number of steps between two readings of the clock."""

    shapes: Callable[[], Shapes]
    dtype: str = "float32"
    steps_per_round: int = 1

    def arrays(self, scale: float) -> Mapping[str, np.ndarray]:
        """Draws normal numbers of this scale, the same at each call."""
        rng = np.random.default_rng(0)
        return {
            f"p{i:04d}": scale * rng.standard_normal(shape, np.float32)
            for i, shape in enumerate(self.shapes())
        }


TREES = {
    "one leaf of 10M": Tree(lambda: [(2500, 4000)]),
    "GPT-2 small, 148 leaves": Tree(gpt2_small),
    "GPT-2 small, bfloat16": Tree(gpt2_small, "bfloat16"),
    "embedding of 1,000,000 x 64": Tree(lambda: [(1_000_000, 64)]),
    "1,000 leaves of 32 x 32": Tree(lambda: [(32, 32)] * 1000),
    "150 leaves of distinct shapes": Tree(lambda: distinct(150)),
    "1,000 leaves of distinct shapes": Tree(lambda: distinct(1000)),
    "8 matrices of 512 x 512": Tree(lambda: [(512, 512)] * 8),
    "8 matrices of 4 shapes": Tree(lambda: hidden(2, 256)),
    "48 matrices of 4 shapes": Tree(lambda: hidden(12, 128)),
    "4 leaves of 16": Tree(lambda: [(16,)] * 4, steps_per_round=200),
    "16 leaves of 16": Tree(lambda: [(16,)] * 16, steps_per_round=100),
    "64 leaves of 16": Tree(lambda: [(16,)] * 64, steps_per_round=40),
    "256 leaves of 16": Tree(lambda: [(16,)] * 256, steps_per_round=10),
}
