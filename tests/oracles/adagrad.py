"""Adagrad."""

import numpy as np

from .common import in_order, leafwise
from .links import scale


@leafwise
def scale_by_rss(initial_accumulator_value=0.1, eps=1e-7, eps_in_sqrt=True, lr_decay=0.0):
    """Follows Duchi, Hazan & Singer, Figure 1, diagonal.

    lr_decay is as in torch. Without a gradient there is no step.
    """
    s, t = initial_accumulator_value, 0

    def step(g, p):
        nonlocal s, t
        t += 1
        s = s + g**2
        r = np.sqrt(s + eps) if eps_in_sqrt else np.sqrt(s) + eps
        return np.divide(g, r, out=np.zeros_like(g), where=r > 0) / (1 + (t - 1) * lr_decay)

    return step


@leafwise
def adagrad(learning_rate, **options):
    return in_order(scale_by_rss.leaf(**options), scale.leaf(-learning_rate))
