"""Adam and its relatives."""

import functools

import numpy as np

from .common import decoupled, in_order, leafwise
from .links import scale


@leafwise
def scale_by_adam(
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    nesterov=False,
    amsgrad=False,
    momentum_decay=None,
):
    """Follows Kingma & Ba, Algorithm 1.

    AMSGrad is as in torch, and Nesterov as in Dozat with a constant b1.

    With momentum_decay as in torch.optim.NAdam: the look ahead takes Dozat's schedule of b1, m
    the constant.

    The betas may be functions of the step number t = 1, 2, ...: torch, too, divides by 1 minus
    the power of the beta in force.
    """
    beta1, beta2 = (b if callable(b) else (lambda t, b=b: b) for b in (b1, b2))
    m = v = largest = 0.0
    product, t = 1.0, 0

    def step(g, p):
        nonlocal m, v, largest, product, t
        t += 1
        b1, b2 = beta1(t), beta2(t)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        nu = (largest if amsgrad else v) / (1 - b2**t)
        mu = m / (1 - b1**t)
        if momentum_decay is not None:
            now, then = (b1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
            product *= now
            mu = then * m / (1 - product * then) + (1 - now) * g / (1 - product)
        elif nesterov:
            mu = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return mu / (np.sqrt(nu + eps_root) + eps)

    return step


@leafwise
def adam(learning_rate, **options):
    return in_order(scale_by_adam.leaf(**options), scale.leaf(-learning_rate))


adamw = decoupled(scale_by_adam, default=1e-4)
nadam = functools.partial(adam, nesterov=True)
nadamw = functools.partial(adamw, nesterov=True)


@leafwise
def scale_by_amsgrad(
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    eps_root=0.0,
    bias_correction_mu=True,
    bias_correction_nu=True,
):
    """Follows Reddi, Kale & Kumar, Algorithm 2, with or without Adam's corrections."""
    m = v = largest = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, largest, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v / (1 - b2**t) if bias_correction_nu else v)
        top = m / (1 - b1**t) if bias_correction_mu else m
        return top / (np.sqrt(largest + eps_root) + eps)

    return step


@leafwise
def amsgrad(learning_rate, **options):
    return in_order(scale_by_amsgrad.leaf(**options), scale.leaf(-learning_rate))
