"""RMSprop."""

import numpy as np

from .common import in_order, leafwise
from .links import scale, trace


@leafwise
def scale_by_rms(
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    bias_correction=False,
    centered=False,
):
    """Follows Tieleman & Hinton.

    If centred, it follows Graves, equations 38 to 41, without his outer momentum.
    """
    n, m, t = initial_scale, 0.0, 0

    def step(g, p):
        nonlocal n, m, t
        t += 1
        n = decay * n + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        correction = 1 - decay**t if bias_correction else 1.0
        s = n / correction - (m / correction) ** 2 if centered else n / correction
        return g / (np.sqrt(s + eps) if eps_in_sqrt else np.sqrt(s) + eps)

    return step


@leafwise
def rmsprop(learning_rate, momentum=0.0, nesterov=False, dampening=0.0, **options):
    moved = trace.leaf(momentum, nesterov, dampening)
    return in_order(scale_by_rms.leaf(**options), moved, scale.leaf(-learning_rate))


@leafwise
def scale_by_stddev(**options):
    return scale_by_rms.leaf(centered=True, **options)
