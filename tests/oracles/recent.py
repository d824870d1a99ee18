"""Elementwise and adaptive rules after Adam, each from its paper."""

import math

import numpy as np

from .common import decoupled, leafwise


def half_life_in_warmup(t, start, end, warmup):
    """Pagliardini et al., appendix A.1: the half-life of a decay grows linearly."""
    if t >= warmup:
        return end
    first, last = (math.log(0.5) / math.log(b + 1e-8) - 1 for b in (start, end))
    return 0.5 ** (1 / ((1 - t / warmup) * first + t / warmup * last + 1))


@leafwise
def scale_by_ademamix(
    b1=0.9,
    b2=0.999,
    b3=0.9999,
    alpha=6.0,
    eps=1e-8,
    eps_root=0.0,
    b3_warmup=None,
    alpha_warmup=None,
):
    """Pagliardini et al., Algorithm 1."""
    m1 = m2 = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m1, m2, v, t
        t += 1
        slow = b3 if b3_warmup is None else half_life_in_warmup(t, b1, b3, b3_warmup)
        weight = alpha if alpha_warmup is None else min(t / alpha_warmup, 1) * alpha
        m1 = b1 * m1 + (1 - b1) * g
        m2 = slow * m2 + (1 - slow) * g
        v = b2 * v + (1 - b2) * g**2
        return (m1 / (1 - b1**t) + weight * m2) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)

    return step


def ademamix(learning_rate, alpha=5.0, **how):
    return decoupled(scale_by_ademamix, default=0.0)(learning_rate, alpha=alpha, **how)


@leafwise
def scale_by_simplified_ademamix(
    b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0, b1_warmup=None, min_b1=0.9
):
    """Morwani et al., Algorithm 1, with the bias correction of their code."""
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        decay = b1 if b1_warmup is None else half_life_in_warmup(t, min_b1, b1, b1_warmup)
        m = decay * m + g
        v = b2 * v + (1 - b2) * g**2
        return (m + alpha * g) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)

    return step


simplified_ademamix = decoupled(scale_by_simplified_ademamix, default=0.0)


@leafwise
def scale_by_adopt(
    b1=0.9, b2=0.9999, eps=1e-6, nesterov=False, use_clipping=True, clip_value_fn=None
):
    """Taniguchi et al., Algorithm 2, whose first gradient only makes v."""
    m, v, t = 0.0, None, 0
    bound = clip_value_fn or (lambda step: step**0.25)

    def step(g, p):
        nonlocal m, v, t
        t += 1
        if v is None:
            v = g**2
            return 0 * g
        q = g / np.maximum(np.sqrt(v), eps)
        if use_clipping:
            q = np.minimum(np.maximum(q, -bound(t - 1)), bound(t - 1))
        m = b1 * m + (1 - b1) * q
        v = b2 * v + (1 - b2) * g**2
        return b1 * m + (1 - b1) * q if nesterov else m

    return step


adopt = decoupled(scale_by_adopt, default=0.0)


@leafwise
def scale_by_laprop(b1=0.9, b2=0.999, eps=1e-15):
    """Ziyin et al., Algorithm 1."""
    m = n = 0.0
    t = 0

    def step(g, p):
        nonlocal m, n, t
        t += 1
        n = b2 * n + (1 - b2) * g**2
        m = b1 * m + (1 - b1) * g / (np.sqrt(n / (1 - b2**t)) + eps)
        return m / (1 - b1**t)

    return step


laprop = decoupled(scale_by_laprop, default=0.0)


@leafwise
def scale_by_stable_adamw(b1=0.9, b2=0.99, eps=1e-6, weight_decay=0.0):
    """Wortsman et al., Algorithm 2, with means whose decays grow."""
    v = u = 0.0
    t = 0

    def step(g, p):
        nonlocal v, u, t
        t += 1
        d1, d2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (b1, b2))
        v = d1 * v + (1 - d1) * g
        u = d2 * u + (1 - d2) * g**2
        rms = np.sqrt(np.mean(g**2 / np.maximum(u, eps**2)))
        return (weight_decay * p + v / (np.sqrt(u) + eps)) / max(1, rms)

    return step


def stable_adamw(learning_rate, weight_decay=1e-2, mask=None, **how):
    with_decay = scale_by_stable_adamw(weight_decay=weight_decay, **how)
    without = scale_by_stable_adamw(weight_decay=0.0, **how)

    def step(grads, params):
        where = mask(params) if mask else dict.fromkeys(params, True)
        one, other = with_decay(grads, params), without(grads, params)
        return {k: -learning_rate * (one if where[k] else other)[k] for k in grads}

    return step


def factored(row, col):
    """The matrix that has these means of rows, and columns in proportion to these means."""
    return row[..., None] * col[..., None, :] / row.mean(axis=-1)[..., None, None]


@leafwise
def scale_by_came(
    b1=0.9, b2=0.999, b3=0.9999, eps=1e-30, eps_instability=1e-16, clip_threshold=1.0
):
    """Luo et al., Algorithm 2, with the constant decay of their code."""
    kept = dict.fromkeys(("m", "v", "row", "col", "r_row", "r_col"), 0.0)

    def mean(name, x, b):
        kept[name] = b * kept[name] + (1 - b) * x
        return kept[name]

    def step(g, p):
        square = g**2 + eps
        if g.ndim < 2:
            v = mean("v", square, b2)
        else:
            v = factored(
                mean("row", square.mean(axis=-1), b2), mean("col", square.mean(axis=-2), b2)
            )
        d = g / np.sqrt(v)
        d = d / max(1, np.sqrt(np.mean(d**2)) / clip_threshold)
        m = mean("m", d, b1)
        if g.ndim < 2:
            return m
        strayed = (d - m) ** 2 + eps_instability
        rows = mean("r_row", strayed.mean(axis=-1), b3)
        return m / np.sqrt(factored(rows, mean("r_col", strayed.mean(axis=-2), b3)))

    return step


came = decoupled(scale_by_came, default=0.0)


@leafwise
def scale_by_madgrad(learning_rate, momentum=0.9, eps=1e-6):
    """Defazio & Jelassi, Algorithm 1, with the eps of their code in the learning rate as well."""
    s = q = 0.0
    start, t = None, 0

    def step(g, p):
        nonlocal s, q, start, t
        start = p if start is None else start
        t += 1
        weight = (learning_rate + eps) * np.sqrt(t)
        s = s + weight * g
        q = q + weight * g**2
        z = start - s / (np.cbrt(q) + eps)
        return (1 - momentum) * z + momentum * p - p

    return step


def madgrad(learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6, mask=None):
    find = scale_by_madgrad(learning_rate=learning_rate, momentum=momentum, eps=eps)

    def step(grads, params):
        where = mask(params) if mask else dict.fromkeys(params, True)
        decay = {k: weight_decay * p * where[k] for k, p in params.items()}
        return find({k: g + decay[k] for k, g in grads.items()}, params)

    return step


@leafwise
def scale_by_adabound(
    learning_rate,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    final_learning_rate=0.1,
    gamma=1e-3,
    amsbound=False,
):
    """Luo et al., Algorithms 2 and 3, with the bias corrections of their code."""
    m = v = largest = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, largest, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        rate = learning_rate * np.sqrt(1 - b2**t) / (1 - b1**t)
        rate = rate / (np.sqrt(largest if amsbound else v) + eps)
        low = final_learning_rate * (1 - 1 / (gamma * t + 1))
        high = final_learning_rate * (1 + 1 / (gamma * t))
        return np.clip(rate, low, high) * m

    return step


@leafwise
def adabound(learning_rate, weight_decay=0.0, **how):
    find = scale_by_adabound.leaf(learning_rate, **how)
    return lambda g, p: -find(g + weight_decay * p, p)


@leafwise
def scale_by_acprop(b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16):
    """Zhuang et al., Algorithm 2, with a bias correction and a first update by the gradient."""
    m = s = 0.0
    t = 0

    def step(g, p):
        nonlocal m, s, t
        root = np.sqrt(s / (1 - b2**t)) if t else np.ones_like(g)
        t += 1
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        return g / (root + eps)

    return step


acprop = decoupled(scale_by_acprop, default=0.0)


@leafwise
def scale_by_spam(
    b1=0.9,
    b2=0.999,
    eps=1e-6,
    threshold=5000.0,
    update_proj_gap=500,
    warmup_epoch=50,
    grad_accu_steps=20,
):
    """Huang et al., Algorithm 1, with the corrections and the warmup of their code."""
    m = v = 0.0
    t, since_reset = 0, math.inf

    def step(g, p):
        nonlocal m, v, t, since_reset
        t += 1
        since_reset += 1
        if t % update_proj_gap == 0:
            m, v, since_reset = 0.0, 0.0, 0
        if t >= grad_accu_steps and t % update_proj_gap >= grad_accu_steps:
            spike = g**2 > threshold * v
            g = np.where(spike, np.sign(g) * np.sqrt(threshold * v), g)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        lower = 0.0
        if since_reset < warmup_epoch:
            lower = 0.99 * (1 + math.cos(math.pi * since_reset / (warmup_epoch + 1))) / 2
        size = (1 - lower) * np.sqrt(1 - b2**t) / (1 - b1**t)
        return size * m / (np.sqrt(v) + eps)

    return step


spam = decoupled(scale_by_spam, default=0.0)


@leafwise
def grokfast(alpha=0.98, lamb=2.0):
    """Lee et al., Algorithm 2, whose mean begins as the first gradient."""
    mean = None

    def step(g, p):
        nonlocal mean
        mean = g if mean is None else alpha * mean + (1 - alpha) * g
        return g + lamb * mean

    return step


@leafwise
def grokfast_ma(window_size=100, lamb=5.0, filter_type="mean", warmup=True):
    """Lee et al., Algorithm 1."""
    before = []

    def step(g, p):
        before.append(g)
        last = before[-window_size:]
        if warmup and len(last) < window_size:
            return g
        return g + lamb * (sum(last) / len(last) if filter_type == "mean" else sum(last))

    return step
