"""Second moments of other kinds than Adam's: AdaBelief, Yogi, NovoGrad, Adan."""

import numpy as np

from .common import decoupled, in_order, leafwise
from .links import scale


@leafwise
def scale_by_belief(b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, nesterov=False):
    """Follows the code of Zhuang et al. without rectification: eps enters s at each step."""
    m = s = 0.0
    t = 0

    def step(g, p):
        nonlocal m, s, t
        t += 1
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        mean = m / (1 - b1**t)
        if nesterov:
            mean = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return mean / (np.sqrt(s / (1 - b2**t)) + eps)

    return step


adabelief = decoupled(scale_by_belief, default=0.0)


@leafwise
def scale_by_yogi(b1=0.9, b2=0.999, eps=1e-3, eps_root=0.0, initial_accumulator_value=1e-6):
    """Follows Zaheer et al., Algorithm 2, with the bias correction of their TensorFlow code."""
    m = v = initial_accumulator_value
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g**2) * g**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)

    return step


@leafwise
def yogi(learning_rate, **options):
    return in_order(scale_by_yogi.leaf(**options), scale.leaf(-learning_rate))


@leafwise
def scale_by_novograd(b1=0.9, b2=0.25, eps=1e-8, eps_root=0.0, weight_decay=0.0):
    """Follows Ginsburg et al., Algorithm 1."""
    m, v = 0.0, None

    def step(g, p):
        nonlocal m, v
        norm2 = np.sum(np.abs(g) ** 2)
        v = norm2 if v is None else b2 * v + (1 - b2) * norm2
        m = b1 * m + (g / (np.sqrt(v + eps_root) + eps) + weight_decay * p)
        return m

    return step


@leafwise
def novograd(learning_rate, eps=1e-6, **options):
    return in_order(scale_by_novograd.leaf(eps=eps, **options), scale.leaf(-learning_rate))


@leafwise
def scale_by_adan(b1=0.98, b2=0.92, b3=0.99, eps=1e-8, eps_root=0.0):
    """Follows the code of Xie et al., in which the betas are the weights of the old moments."""
    m = d = n = 0.0
    before, t = None, 0

    def step(g, p):
        nonlocal m, d, n, before, t
        t += 1
        change = 0 * g if before is None else g - before
        before = g
        m = b1 * m + (1 - b1) * g
        d = b2 * d + (1 - b2) * change
        n = b3 * n + (1 - b3) * (g + b2 * change) ** 2
        root = np.sqrt(n / (1 - b3**t) + eps_root) + eps
        return (m / (1 - b1**t) + b2 * d / (1 - b2**t)) / root

    return step


def adan(learning_rate, eps_root=1e-8, **options):
    return decoupled(scale_by_adan, default=0.0)(learning_rate, eps_root=eps_root, **options)


@leafwise
def scale_by_sm3(b1=0.9, b2=1.0, eps=1e-8):
    """Follows Anil et al., SM3-II, with a set for each row and each column."""
    covers = m = None

    def step(g, p):
        nonlocal covers, m
        if covers is None:
            covers, m = [np.zeros(n) for n in g.shape], np.zeros(g.shape)
        along = [np.moveaxis(np.ones(g.shape) * 0, i, -1) + c for i, c in enumerate(covers)]
        along = [np.moveaxis(x, -1, i) for i, x in enumerate(along)]
        nu = (1.0 if b2 == 1 else 1 - b2) * g**2 + b2 * np.min(along, axis=0)
        covers = [np.moveaxis(nu, i, 0).reshape(n, -1).max(1) for i, n in enumerate(g.shape)]
        m = b1 * m + (1 - b1) * np.where(nu > 0, g / np.sqrt(nu + eps), 0.0)
        return m

    return step


@leafwise
def sm3(learning_rate, momentum=0.9):
    return in_order(scale_by_sm3.leaf(momentum), scale.leaf(-learning_rate))


@leafwise
def scale_by_distance_over_gradients(reps_rel=1e-6, eps=1e-8, global_scale=1.0):
    """Follows Ivgi, Hinder & Carmon, by layer."""
    start = farthest = None
    total = 0.0

    def step(g, p):
        nonlocal start, farthest, total
        if start is None:
            start, farthest = p.copy(), reps_rel * (1 + np.linalg.norm(p))
        farthest = max(farthest, np.linalg.norm(p - start))
        total += np.sum(g**2)
        return global_scale * farthest / np.sqrt(total + eps) * g

    return step
