"""Steps measured by the parameter: trust ratios, LAMB, LARS, Fromage, adaptive clipping."""

import numpy as np

from .adam import scale_by_adam
from .common import in_order, leafwise
from .links import add_decayed_weights, scale, trace


def norm(x):
    return np.sqrt(np.sum(np.abs(x) ** 2))


@leafwise
def scale_by_trust_ratio(min_norm=0.0, trust_coefficient=1.0, eps=0.0):
    """Follows You et al. 2017, equation 6, with 1 where a norm is 0."""

    def step(g, p):
        p_norm, g_norm = max(norm(p), min_norm), max(norm(g), min_norm)
        if p_norm == 0 or g_norm == 0:
            return g
        return trust_coefficient * p_norm / (g_norm + eps) * g

    return step


@leafwise
def lamb(learning_rate, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.0):
    return in_order(
        scale_by_adam.leaf(b1, b2, eps),
        add_decayed_weights.leaf(weight_decay),
        scale_by_trust_ratio.leaf(),
        scale.leaf(-learning_rate),
    )


@leafwise
def lars(
    learning_rate, weight_decay=0.0, trust_coefficient=0.001, eps=0.0, momentum=0.9, nesterov=False
):
    return in_order(
        add_decayed_weights.leaf(weight_decay),
        scale_by_trust_ratio.leaf(0.0, trust_coefficient, eps),
        scale.leaf(-learning_rate),
        trace.leaf(momentum, nesterov),
    )


@leafwise
def fromage(learning_rate, min_norm=1e-6):
    """Follows Bernstein et al., Algorithm 1."""

    def step(g, p):
        ratio = max(norm(p), min_norm) / max(norm(g), min_norm)
        return (p - learning_rate * ratio * g) / np.sqrt(1 + learning_rate**2) - p

    return step


@leafwise
def adaptive_grad_clip(clipping, eps=1e-3, axis=None):
    """Follows Brock et al., equation 3, for vectors and for matrices `(in, out)`."""

    def step(g, p):
        axes = axis if axis is not None else (0,) if p.ndim == 2 else tuple(range(p.ndim))
        p_norm, g_norm = (np.sqrt(np.sum(x**2, axis=axes, keepdims=True)) for x in (p, g))
        bound = clipping * np.maximum(p_norm, eps)
        return np.where(g_norm > bound, g * bound / np.where(g_norm > 0, g_norm, 1), g)

    return step


@leafwise
def centralize():
    """Follows Yong et al., equation 1, with the outputs last."""

    def step(g, p):
        if g.ndim < 2:
            return g
        flat = g.reshape(-1, g.shape[-1])
        return (flat - flat.mean(0)).reshape(g.shape)

    return step


@leafwise
def keep_params_nonnegative():
    return lambda g, p: np.where(p + g < 0, -p, g)


def normalize_by_update_norm(scale_factor=1.0, eps=1e-6):
    def step(grads, params):
        total = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
        return {k: g * scale_factor / (total + eps) for k, g in grads.items()}

    return step
