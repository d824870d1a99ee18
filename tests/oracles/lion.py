"""Lion."""

import numpy as np

from .common import decoupled, leafwise


@leafwise
def scale_by_lion(b1=0.9, b2=0.99):
    """Chen et al., Algorithm 2. Refuses a problem in which rounding could turn a sign."""
    m = 0.0

    def step(g, p):
        nonlocal m
        c = b1 * m + (1 - b1) * g
        assert np.abs(c).min() > 1e-6, "choose gradients whose signs are decided"
        m = b2 * m + (1 - b2) * g
        return np.sign(c)

    return step


lion = decoupled(scale_by_lion, default=1e-3)
