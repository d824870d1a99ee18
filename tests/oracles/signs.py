"""Signs of gradients, and gradients that foretell."""

import numpy as np

from .adam import scale_by_adam
from .common import in_order, leafwise
from .links import ema, scale


@leafwise
def scale_by_sign():
    """Refuses a problem in which rounding could turn a sign."""

    def step(g, p):
        assert np.abs(g).min() > 1e-6, "choose gradients whose signs are decided"
        return np.sign(g)

    return step


@leafwise
def sign_sgd(learning_rate):
    return in_order(scale_by_sign.leaf(), scale.leaf(-learning_rate))


@leafwise
def signum(learning_rate, beta=0.9):
    return in_order(ema.leaf(beta, False), scale_by_sign.leaf(), scale.leaf(-learning_rate))


@leafwise
def scale_by_optimistic_gradient(alpha=1.0, beta=1.0):
    before = None

    def step(g, p):
        nonlocal before
        change = 0 * g if before is None else g - before
        before = g
        return alpha * g + beta * change

    return step


@leafwise
def optimistic_gradient_descent(learning_rate, **options):
    return in_order(scale_by_optimistic_gradient.leaf(**options), scale.leaf(-learning_rate))


@leafwise
def optimistic_adam_v2(learning_rate, alpha=1.0, beta=1.0, nesterov=True, **options):
    return in_order(
        scale_by_adam.leaf(nesterov=nesterov, **options),
        scale_by_optimistic_gradient.leaf(alpha, beta),
        scale.leaf(-learning_rate),
    )


@leafwise
def optimistic_adam(learning_rate, optimism=None, nesterov=True, **options):
    """Follows Daskalakis et al., Algorithm 1.

    It makes a step, and another along the change of its direction.
    """
    rate = learning_rate if optimism is None else optimism
    return in_order(
        scale_by_adam.leaf(nesterov=nesterov, **options),
        scale_by_optimistic_gradient.leaf(learning_rate, rate),
        scale.leaf(-1.0),
    )
