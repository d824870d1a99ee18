"""SparseAdam, and rows."""

import numpy as np

from .common import in_order, leafwise
from .links import scale


@leafwise
def scale_by_sparse_adam(b1=0.9, b2=0.999, eps=1e-8):
    """Follows the end of section 2 of Kingma & Ba: the step size has the correction."""
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        return np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)

    return step


@leafwise
def sparse_adam(learning_rate, **options):
    return in_order(scale_by_sparse_adam.leaf(**options), scale.leaf(-learning_rate))
