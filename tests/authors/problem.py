"""Ten steps on which implementations are compared: two parameters, and gradients in closed form."""

import numpy as np

STEPS = 10
KEPT = (1, 9)
"""The steps, from 0, after which parameters are kept."""


def start() -> dict[str, np.ndarray]:
    """Returns the parameters before the first step: a matrix of 4 outputs by 3 inputs, a vector."""
    i, j = np.indices((4, 3))
    return {"w": np.cos(i + 2 * j), "b": 0.5 * np.sin(np.arange(3) + 1)}


def gradients(t: int, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the gradients at step t, from 0."""
    i, j = np.indices((4, 3))
    w = np.sin(0.7 * t + 1.3 * i + 2.1 * j) + 0.1 * params["w"]
    return {"w": w, "b": np.cos(0.9 * t + 1.1 * np.arange(3)) + 0.1 * params["b"]}


def drawn_gradients(t: int) -> dict[str, np.ndarray]:
    """Returns the gradients at step t, from 0, of the loss on labels that a model has drawn."""
    return gradients(t + 100, start())
