"""Rprop."""

import numpy as np

from .common import in_order, leafwise
from .links import scale


@leafwise
def scale_by_rprop(
    learning_rate, eta_minus=0.5, eta_plus=1.2, min_step_size=1e-6, max_step_size=50.0
):
    """Follows Igel & Hüsken, iRprop-, one element after the other, without its sign."""
    memory = {}

    def element(i, g):
        size, last = memory.get(i, (learning_rate, 0.0))
        if last * g > 0:
            size = min(size * eta_plus, max_step_size)
        elif last * g < 0:
            size = max(size * eta_minus, min_step_size)
            g = 0.0
        memory[i] = size, g
        return np.sign(g) * size

    def step(g, p):
        found = [element(i, x) for i, x in enumerate(np.ravel(g).tolist())]
        return np.reshape(found, np.shape(g))

    return step


@leafwise
def rprop(learning_rate, **options):
    return in_order(scale_by_rprop.leaf(learning_rate, **options), scale.leaf(-1.0))
