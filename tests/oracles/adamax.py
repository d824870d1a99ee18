"""Adamax."""

import numpy as np

from .common import decoupled, in_order, leafwise
from .links import scale


@leafwise
def scale_by_adamax(b1=0.9, b2=0.999, eps=1e-8):
    """Follows Kingma & Ba, Algorithm 2, with eps where torch has it."""
    m = u = 0.0
    t = 0

    def step(g, p):
        nonlocal m, u, t
        t += 1
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g) + eps)
        return m / (1 - b1**t) / u

    return step


@leafwise
def adamax(learning_rate, **options):
    return in_order(scale_by_adamax.leaf(**options), scale.leaf(-learning_rate))


adamaxw = decoupled(scale_by_adamax, default=1e-4)
