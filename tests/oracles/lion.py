"""Lion."""

import numpy as np

from .common import decoupled, leafwise


@leafwise
def scale_by_lion(b1=0.9, b2=0.99, mode="hard", smooth_beta=1.0):
    """Follows Chen et al., Algorithm 2, and optax's modes.

    It refuses gradients whose signs rounding could turn.
    """
    m = 0.0

    def step(g, p):
        nonlocal m
        c = b1 * m + (1 - b1) * g
        m = b2 * m + (1 - b2) * g
        if mode == "smooth":
            return np.tanh(smooth_beta * c)
        if mode == "refined":
            return np.where(np.abs(c) < 1, c, np.sign(c))
        assert np.abs(c).min() > 1e-6, "choose gradients whose signs are decided"
        return np.sign(c)

    return step


lion = decoupled(scale_by_lion, default=1e-3)
