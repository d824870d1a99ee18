"""Losses of one real vector, for JAX's arrays and for torch's tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np

LOSSES = ("quad", "quartic", "rosen")
HILL = "hill"
"""A loss to maximize: minus the quartic."""


def loss(kind: str, x: Any, vector: Callable[[np.ndarray], Any]) -> Any:
    """Computes a loss `()` of a vector `(n,)`, of curvatures over two orders of magnitude.

    Args:
      vector: makes an array, or a tensor, of x's dtype.
    """
    if kind == "rosen":
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    n = x.shape[0]
    curvature, target = vector(np.linspace(0.1, 10, n)), vector(np.arange(n) * 7 % 5 / 2 - 1)
    if kind == "quad":
        return (0.5 * curvature * (x - target) ** 2).sum()
    quartic = (curvature * (x - target) ** 4).sum()
    return -quartic if kind == HILL else quartic
