"""One parameter of several shapes, as torch has them, and gradients in closed form."""

import numpy as np

SHAPES = {
    "tall": (4, 3),
    "wide": (3, 5),
    "vector": (3,),
    "line": (4, 3, 3),
    "image": (4, 3, 2, 2),
}
"""Weights are `(outputs, inputs, *positions)`."""


def start(shape: tuple[int, ...]) -> np.ndarray:
    """Returns the parameter before the first step."""
    return np.cos(_phase(shape, 1.0))


def gradient(t: int, p: np.ndarray) -> np.ndarray:
    """Returns the gradient at step t, from 0."""
    return np.sin(0.7 * t + _phase(p.shape, 1.3)) + 0.1 * p


def first_q(shape: tuple[int, ...]) -> np.ndarray:
    """Returns the first Q of Dion."""
    return np.sin(1 + _phase(shape, 1.7))


def _phase(shape: tuple[int, ...], slope: float) -> np.ndarray:
    i = np.indices(shape)
    # With the last term, sines of it make matrices of full rank.
    return slope * np.tensordot(1 + 0.6 * np.arange(len(shape)), i, 1) + 0.3 * np.prod(i, axis=0)
