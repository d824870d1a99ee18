"""RAdam."""

import numpy as np

from .common import in_order, leafwise
from .links import scale


@leafwise
def scale_by_radam(
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    threshold=5.0,
    nesterov=False,
    eps_before_correction=False,
):
    """Follows Liu et al., Algorithm 2, with their letters; eps is as in Adam or torch."""
    m = v = 0.0
    t = 0
    rho_infinity = 2 / (1 - b2) - 1

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        rho = rho_infinity - 2 * t * b2**t / (1 - b2**t)
        if rho <= threshold:
            return m_hat
        adaptive = np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)
        if not eps_before_correction:
            adaptive = 1 / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)
        above = (rho - 4) * (rho - 2) * rho_infinity
        below = (rho_infinity - 4) * (rho_infinity - 2) * rho
        return m_hat * np.sqrt(above / below) * adaptive

    return step


@leafwise
def radam(learning_rate, **options):
    return in_order(scale_by_radam.leaf(**options), scale.leaf(-learning_rate))
