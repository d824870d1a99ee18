"""Elementwise and adaptive rules after Adam, each from its paper."""

import math

import numpy as np

from .adam import adamw, scale_by_adam
from .common import decoupled, leafwise
from .lion import scale_by_lion


def half_life_in_warmup(t, start, end, warmup):
    """Follows Pagliardini et al., appendix A.1: the half-life of a decay grows linearly."""
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
    """Follows Pagliardini et al., Algorithm 1."""
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


def ademamix(learning_rate, alpha=5.0, **options):
    return decoupled(scale_by_ademamix, default=0.0)(learning_rate, alpha=alpha, **options)


@leafwise
def scale_by_simplified_ademamix(
    b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0, b1_warmup=None, min_b1=0.9
):
    """Follows Morwani et al., Algorithm 1, with the bias correction of their code."""
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
    """Follows Taniguchi et al., Algorithm 2, whose first gradient only makes v."""
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
    """Follows Ziyin et al., Algorithm 1."""
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
    """Follows Wortsman et al., Algorithm 2, with means whose decays grow."""
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


def stable_adamw(learning_rate, weight_decay=1e-2, mask=None, **options):
    with_decay = scale_by_stable_adamw(weight_decay=weight_decay, **options)
    without = scale_by_stable_adamw(weight_decay=0.0, **options)

    def step(grads, params):
        where = mask(params) if mask else dict.fromkeys(params, True)
        one, other = with_decay(grads, params), without(grads, params)
        return {k: -learning_rate * (one if where[k] else other)[k] for k in grads}

    return step


def factored(row, col):
    """Returns the matrix with these means of rows, and columns in proportion to these means."""
    return row[..., None] * col[..., None, :] / row.mean(axis=-1)[..., None, None]


@leafwise
def scale_by_came(
    b1=0.9, b2=0.999, b3=0.9999, eps=1e-30, eps_instability=1e-16, clip_threshold=1.0
):
    """Follows Luo et al., Algorithm 2, with the constant decay of their code."""
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
    """Follows Defazio & Jelassi, Algorithm 1; as in their code, the rate includes eps."""
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
    """Follows Luo et al., Algorithms 2 and 3, with the bias corrections of their code."""
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
def adabound(learning_rate, weight_decay=0.0, **options):
    find = scale_by_adabound.leaf(learning_rate, **options)
    return lambda g, p: -find(g + weight_decay * p, p)


@leafwise
def scale_by_acprop(b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16):
    """Follows Zhuang et al., Algorithm 2, with a bias correction.

    The first update is the gradient.
    """
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
    delta_t=500,
    warmup_steps=150,
    grad_accu_steps=20,
):
    """Follows Huang et al., Algorithm 1, with the corrections and the warmup of their code."""
    m = v = 0.0
    t, since_reset = 0, math.inf

    def step(g, p):
        nonlocal m, v, t, since_reset
        t += 1
        since_reset += 1
        if t % delta_t == 0:
            m, v, since_reset = 0.0, 0.0, 0
        if t >= grad_accu_steps and t % delta_t >= grad_accu_steps:
            spike = g**2 > threshold * v
            g = np.where(spike, np.sign(g) * np.sqrt(threshold * v), g)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        lower = 0.0
        if since_reset < warmup_steps:
            lower = 0.99 * (1 + math.cos(math.pi * since_reset / (warmup_steps + 1))) / 2
        size = (1 - lower) * np.sqrt(1 - b2**t) / (1 - b1**t)
        return size * m / (np.sqrt(v) + eps)

    return step


spam = decoupled(scale_by_spam, default=0.0)


@leafwise
def grokfast(alpha=0.98, lamb=2.0):
    """Follows Lee et al., Algorithm 2, whose mean begins as the first gradient."""
    mean = None

    def step(g, p):
        nonlocal mean
        mean = g if mean is None else alpha * mean + (1 - alpha) * g
        return g + lamb * mean

    return step


@leafwise
def grokfast_ma(window_size=100, lamb=5.0, filter_type="mean", warmup=True):
    """Follows Lee et al., Algorithm 1."""
    before = []

    def step(g, p):
        before.append(g)
        last = before[-window_size:]
        if warmup and len(last) < window_size:
            return g
        return g + lamb * (sum(last) / len(last) if filter_type == "mean" else sum(last))

    return step


def block_means(square, blocks):
    """Returns the mean of each block at each of its elements."""
    if blocks is None:
        return square
    counts = [1] * square.ndim
    for block in blocks:
        axis, n = block if isinstance(block, tuple) else (block, None)
        counts[axis] = n or square.shape[axis]
    found = np.empty_like(square)
    for place in np.ndindex(*counts):
        part = tuple(
            slice(i * (size // n), (i + 1) * (size // n))
            for i, size, n in zip(place, square.shape, counts, strict=True)
        )
        found[part] = square[part].mean()
    return found


@leafwise
def scale_by_adam_mini(b1=0.9, b2=0.999, eps=1e-8, blocks=()):
    """Follows Zhang et al., Algorithm 1."""
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * block_means(g**2, blocks)
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def adam_mini(learning_rate, blocks=(), param_labels=None, **options):
    if param_labels is None:
        return decoupled(scale_by_adam_mini, default=0.0)(learning_rate, blocks=blocks, **options)
    makers = {
        k: decoupled(scale_by_adam_mini, default=0.0)(learning_rate, blocks=own, **options)
        for k, own in blocks.items()
    }

    def step(grads, params):
        by_label = {k: find(grads, params) for k, find in makers.items()}
        return {k: by_label[param_labels[k]][k] for k in grads}

    return step


def corrected(b1, gamma):
    """Follows Yuan et al., equation 2.8, with the last gradient in the place of the exact one."""
    before = 0.0

    def step(g):
        nonlocal before
        c = g + gamma * b1 / (1 - b1) * (g - before)
        before = g
        return c / max(1, np.sqrt(np.sum(c**2)))

    return step


def newton_schulz(x, eps):
    """Runs the quintic iteration of Jordan et al., in the precision of x."""
    x = x / (np.sqrt(np.sum(x**2)) + eps)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


@leafwise
def scale_by_mars(b1=0.95, b2=0.99, eps=1e-8, gamma=0.025, base="adamw"):
    """Follows Yuan et al., Algorithms 2 to 4."""
    reduce = corrected(b1, gamma)
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        c = reduce(g)
        m = b1 * m + (1 - b1) * c
        if base == "lion":
            return np.sign(m)
        if base == "shampoo":
            return newton_schulz(np.atleast_2d(m / (1 - b1)), eps).reshape(g.shape)
        v = b2 * v + (1 - b2) * c**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


@leafwise
def scaled_by_shape(base="adamw", **options):
    find = scale_by_mars.leaf(base=base, **options)

    def step(g, p):
        factor = max(1, g.shape[1] / g.shape[0]) ** 0.5 if base == "shampoo" else 1
        return factor * find(g, p)

    return step


def mars(learning_rate, weight_decay=0.0, adam_weight_decay=0.1, optimize_1d=False, **options):
    matrices = decoupled(scaled_by_shape, default=0.0)(learning_rate, weight_decay, **options)
    rest = adamw(learning_rate, adam_weight_decay, b2=0.95)
    if optimize_1d:
        if options.get("base") in (None, "shampoo"):
            options = {**options, "base": "adamw"}
        rest = decoupled(scale_by_mars, default=0.0)(learning_rate, weight_decay, **options)

    def step(grads, params):
        pairs = (
            (find, {k: g for k, g in grads.items() if (g.ndim == 2) == matrix})
            for find, matrix in ((matrices, True), (rest, False))
        )
        return {k: u for find, some in pairs for k, u in find(some, params).items()}

    return step


def masked_by_gradient(u, g, min_fraction=1e-3):
    """Follows Liang et al., with the clamp of timm."""
    agrees = u * g > 0
    return u * agrees / max(agrees.mean(), min_fraction)


def masked_direction(direction):
    """Masks the direction of another rule where it does not agree with the gradient."""

    @leafwise
    def masked(min_fraction=1e-3, **options):
        find = direction.leaf(**options)
        return lambda g, p: masked_by_gradient(find(g, p), g, min_fraction)

    return masked


cautious_adamw = decoupled(masked_direction(scale_by_adam), default=1e-4)

cautious_lion = decoupled(masked_direction(scale_by_lion), default=1e-3)


@leafwise
def cautious_weight_decay(weight_decay=0.0):
    """Follows Chen et al., Algorithm 1."""
    return lambda g, p: g + weight_decay * p * (g * p >= 0)


def hypergradient_of(direction, learning_rate, hypergrad_lr, weight_decay=0.0):
    """Follows Baydin et al.: the rate grows by the product of gradient and last direction."""
    rate, before = learning_rate, None

    def step(grads, params):
        nonlocal rate, before
        grads = {k: g + weight_decay * params[k] for k, g in grads.items()}
        if before is not None:
            rate = rate + hypergrad_lr * sum(np.sum(g * before[k]) for k, g in grads.items())
        before = direction(grads, params)
        return {k: -rate * u for k, u in before.items()}

    return step


@leafwise
def momentum_of(momentum=None, nesterov=False):
    b = 0.0

    def step(g, p):
        nonlocal b
        b = g + (momentum or 0.0) * b
        return g + momentum * b if nesterov else b

    return step


def sgd_hd(learning_rate, momentum=None, nesterov=False, hypergrad_lr=1e-6, weight_decay=0.0):
    direction = momentum_of(momentum=momentum, nesterov=nesterov)
    return hypergradient_of(direction, learning_rate, hypergrad_lr, weight_decay)


def adam_hd(learning_rate, hypergrad_lr=1e-8, weight_decay=0.0):
    return hypergradient_of(scale_by_adam(), learning_rate, hypergrad_lr, weight_decay)


def to_norm(x, radius, axis=None):
    norm = np.sqrt(np.sum(x**2, axis=axis, keepdims=True))
    return np.where(norm > 0, radius * x / np.where(norm > 0, norm, 1), 0 * x)


def norm_of(x, axis=None):
    return np.sqrt(np.sum(x**2, axis=axis, keepdims=True))


@leafwise
def norm_constraint(radius=None, axis=None, at_most=False):
    r = radius

    def step(g, p):
        nonlocal r
        r = norm_of(p, axis) if r is None else r
        q = p + g
        return np.where(at_most & (norm_of(q, axis) <= r), g, to_norm(q, r, axis) - p)

    return step


@leafwise
def hyperball(learning_rate, radius=None, axis=None):
    r = radius

    def step(g, p):
        nonlocal r
        r = norm_of(p, axis) if r is None else r
        return to_norm(p - learning_rate * to_norm(g, r, axis), r, axis) - p

    return step


@leafwise
def update_norm_floor(floor=0.35, axis=None):
    return lambda g, p: g * np.maximum(1, floor * norm_of(p, axis) / norm_of(g, axis))
