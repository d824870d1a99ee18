"""Algorithms that estimate their step size, by the papers and the authors' code."""

import numpy as np

from .adaptive import scale_by_distance_over_gradients
from .common import Step, Tree, in_order, leafwise
from .links import add_decayed_weights, scale, scale_by_learning_rate


def _sum(a: Tree, b: Tree) -> float:
    return sum(np.sum(a[k] * b[k]) for k in a)


def _magnitudes(a: Tree) -> float:
    return sum(np.sum(np.abs(x)) for x in a.values())


def _zeros(p: Tree) -> Tree:
    return {k: np.zeros_like(x) for k, x in p.items()}


def _mix(decay, a, gain, b) -> Tree:
    return {k: decay * a[k] + gain * b[k] for k in a}


def _corrected(b1, b2, t, wanted):
    return (1 - b2**t) ** 0.5 / (1 - b1**t) if wanted else 1.0


class _Adam:
    """The moments of a tree."""

    def __init__(self, p):
        self.m, self.v = _zeros(p), _zeros(p)

    def see(self, b1, m_gain, b2, v_gain, g):
        self.m = _mix(b1, self.m, m_gain, g)
        self.v = _mix(b2, self.v, v_gain, {k: x**2 for k, x in g.items()})

    def over(self, top, eps):
        return {k: top[k] / (np.sqrt(self.v[k]) + eps) for k in top}


def prodigy(
    learning_rate=1.0,
    betas=(0.9, 0.999),
    beta3=None,
    eps=1e-8,
    estim_lr0=1e-6,
    estim_lr_coef=1.0,
    weight_decay=0.0,
    safeguard_warmup=False,
    bias_correction=False,
    growth_rate=np.inf,
) -> Step:
    """Follows Mishchenko & Defazio, Algorithm 4, with the options of their code."""
    (b1, b2), b3 = betas, beta3 if beta3 is not None else betas[1] ** 0.5
    d = largest = d0 = estim_lr0
    num, t, start, adam, s = 0.0, 0, None, None, None

    def step(g, p):
        nonlocal d, largest, num, t, start, adam, s
        if start is None:
            start, adam, s = {k: x.copy() for k, x in p.items()}, _Adam(p), _zeros(p)
        t += 1
        dlr = d * learning_rate * _corrected(b1, b2, t, bias_correction)
        num = b3 * num + d / d0 * dlr * _sum(g, {k: start[k] - p[k] for k in p})
        adam.see(b1, d * (1 - b1), b2, d**2 * (1 - b2), g)
        s = _mix(b3, s, d / d0 * (d if safeguard_warmup else dlr), g)
        found = estim_lr_coef * num / _magnitudes(s)
        if d == d0:
            d = max(d, found)
        largest = max(largest, found)
        d = min(largest, d * growth_rate)
        u = adam.over(adam.m, d * eps)
        return {k: -dlr * (u[k] + weight_decay * p[k]) for k in p}

    return step


def dadapt_adamw(
    learning_rate=1.0,
    betas=(0.9, 0.999),
    eps=1e-8,
    estim_lr0=1e-6,
    weight_decay=0.0,
    bias_correction=False,
    growth_rate=np.inf,
) -> Step:
    """Follows Defazio & Mishchenko, Algorithm 5, with the estimate of version 3 of their code."""
    b1, b2 = betas
    root, d, num, t, adam, s = b2**0.5, estim_lr0, 0.0, 0, None, None

    def step(g, p):
        nonlocal d, num, t, adam, s
        if adam is None:
            adam, s = _Adam(p), _zeros(p)
        t += 1
        dlr = d * learning_rate * _corrected(b1, b2, t, bias_correction)
        num = root * num + (1 - root) * dlr * _sum(g, adam.over(s, eps))
        adam.see(b1, dlr * (1 - b1), b2, 1 - b2, g)
        s = _mix(root, s, dlr * (1 - root), g)
        d = max(d, min(num / ((1 - root) * _magnitudes(s)), d * growth_rate))
        u = adam.over(adam.m, eps)
        return {k: -weight_decay * dlr * p[k] - u[k] for k in p}

    return step


def dadapt_sgd(
    learning_rate=1.0, momentum=0.0, weight_decay=0.0, estim_lr0=1e-6, growth_rate=np.inf
) -> Step:
    """Follows Defazio & Mishchenko, Algorithm 4, with the estimate of version 3 of their code."""
    d, num, first, start, s = estim_lr0, 0.0, None, None, None

    def step(g, p):
        nonlocal d, num, first, start, s
        g = _mix(1.0, g, weight_decay, p)
        if start is None:
            start, s, first = {k: x.copy() for k, x in p.items()}, _zeros(p), _sum(g, g) ** 0.5
        dlr = d * learning_rate / first
        num += dlr * _sum(g, s)
        s = _mix(1.0, s, dlr, g)
        d = max(d, min(2 * num / _sum(s, s) ** 0.5, d * growth_rate))
        return {k: (1 - momentum) * (start[k] - s[k] - p[k]) for k in p}

    return step


def scale_by_dog(init_value=1e-6, eps=1e-8, init_kind="heuristic") -> Step:
    """Follows Ivgi et al., DoG."""
    start, far, total, t = None, 0.0, 0.0, 0

    def step(g, p):
        nonlocal start, far, total, t
        t += 1
        if start is None:
            start = {k: x.copy() for k, x in p.items()}
            if init_kind != "learning_rate":
                far = init_value * (1 + _sum(p, p) ** 0.5 * (init_kind == "heuristic"))
        way = {k: p[k] - start[k] for k in p}
        far = max(far, _sum(way, way) ** 0.5)
        total += _sum(g, g)
        step = far / np.sqrt(total + eps)
        if init_kind == "learning_rate" and t == 1:
            step = init_value
        return {k: step * x for k, x in g.items()}

    return step


def scale_by_dowg(init_estim_sq_dist=None, eps=1e-4) -> Step:
    """Follows Khaled et al., Algorithm 1, with the authors' eps."""
    start, far, total = None, init_estim_sq_dist or eps, 0.0

    def step(g, p):
        nonlocal start, far, total
        start = start or {k: x.copy() for k, x in p.items()}
        way = {k: p[k] - start[k] for k in p}
        far = max(far, _sum(way, way))
        total += far * _sum(g, g)
        return {k: far / (np.sqrt(total) + eps) * x for k, x in g.items()}

    return step


def _with_rate(direction: Step, learning_rate=1.0, weight_decay=0.0) -> Step:
    def step(g, p):
        u = direction(_mix(1.0, g, weight_decay, p), p)
        return {k: -learning_rate * x for k, x in u.items()}

    return step


def dog(init_step=("heuristic", 1e-6), eps=1e-8, **options) -> Step:
    kind, value = init_step
    return _with_rate(scale_by_dog(value, eps, kind), **options)


def dowg(init_estim_sq_dist=None, eps=1e-4, **options) -> Step:
    return _with_rate(scale_by_dowg(init_estim_sq_dist, eps), **options)


@leafwise
def ldog(learning_rate=1.0, reps_rel=1e-6, eps=1e-8, weight_decay=0.0):
    return in_order(
        add_decayed_weights.leaf(weight_decay),
        scale_by_distance_over_gradients.leaf(reps_rel, eps),
        scale.leaf(-learning_rate),
    )


@leafwise
def scale_by_cocob(alpha=100.0, eps=1e-8):
    """Follows Orabona & Tommasi, Algorithm 2."""
    start, largest, total, reward, theta = None, eps, 0.0, 0.0, 0.0

    def step(g, p):
        nonlocal start, largest, total, reward, theta
        start = p if start is None else start
        largest = np.maximum(largest, np.abs(g))
        total = total + np.abs(g)
        reward = np.maximum(reward - (p - start) * g, 0)
        theta = theta - g
        below = largest * np.maximum(total + largest, alpha * largest)
        return start + theta / below * (largest + reward) - p

    return step


@leafwise
def cocob(learning_rate=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0):
    return in_order(
        add_decayed_weights.leaf(weight_decay),
        scale_by_learning_rate.leaf(learning_rate, flip_sign=False),
        scale_by_cocob.leaf(alpha, eps),
    )


def mechanize(
    base_optimizer, weight_decay=1e-2, eps=1e-8, s_init=1e-6, num_betas=6, rate=1.0
) -> Step:
    """Follows Cutkosky et al., Algorithm 1 with the clipping of h, of an `sgd` with this rate."""
    betas = 1 - 0.1 ** np.arange(1, num_betas + 1)
    r = m = v = np.zeros(num_betas)
    s, start = np.full(num_betas, s_init), None

    def step(g, p):
        nonlocal r, m, v, s, start
        start = start or {k: x.copy() for k, x in p.items()}
        total = s.sum()
        decay = weight_decay * total * _sum(g, g) ** 0.5 / (_sum(p, p) ** 0.5 + eps)
        way = {k: (start[k] - p[k]) / (total + eps) for k in p}
        h = _sum(_mix(1.0, g, decay, p), way)
        r = betas * r + np.clip(h, -m, m) * s
        m = np.maximum(betas * m, abs(h) + eps)
        v = betas**2 * v + h**2
        s = (s_init / num_betas * m + np.maximum(r, 0)) / (np.sqrt(v) + eps)
        return {k: start[k] - s.sum() * (way[k] + rate * g[k]) - p[k] for k in p}

    return step


def momo(
    learning_rate=1.0,
    beta=0.9,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
    bias_correction=False,
    value=None,
) -> Step:
    """Follows Schaipp et al., Algorithms 1 and 3, of a loss `value(p)`."""
    return _momo(
        learning_rate,
        beta,
        lower_bound,
        weight_decay,
        adapt_lower_bound,
        value,
        corrected=bias_correction,
    )


def momo_adam(
    learning_rate=1e-2,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
    divide=True,
    value=None,
) -> Step:
    """Follows Schaipp et al., Algorithm 2, of a loss `value(p)`."""
    v, t = None, 0

    def metric(g):
        nonlocal v, t
        t += 1
        v = _mix(b2, v or _zeros(g), 1 - b2, {k: x**2 for k, x in g.items()})
        return {k: np.sqrt(x / (1 - b2**t)) + eps for k, x in v.items()}

    return _momo(
        learning_rate,
        b1,
        lower_bound,
        weight_decay,
        adapt_lower_bound,
        value,
        metric,
        divide=divide,
    )


def _momo(
    rate, beta, lowest, decay, adapts, value, metric=None, corrected=True, divide=True
) -> Step:
    m, f, gamma, lb, t = None, 0.0, 0.0, lowest, 0

    def step(g, p):
        nonlocal m, f, gamma, lb, t
        t += 1
        b = beta if corrected or t > 1 else 0.0
        rho = 1 - beta**t if corrected else 1.0
        m = _mix(b, m or _zeros(p), 1 - b, g)
        f = b * f + (1 - b) * value(p)
        gamma = b * gamma + (1 - b) * _sum(g, p)
        scale = metric(g) if metric else dict.fromkeys(p, 1.0)
        direction = {k: m[k] / scale[k] for k in m}
        squares, dot, longer = _sum(m, direction), _sum(m, p), 1 + rate * decay
        if adapts:
            cap = longer * (f - gamma) + dot
            if cap < longer * rho * lb:
                lb = max(cap / (2 * longer * rho), lowest)
        gap = longer * (f - rho * lb - gamma) + dot
        tau = min(rate / rho, max(gap, 0.0) / squares)
        if adapts:
            lb = max((f + dot - gamma - tau * squares / 2) / rho, lowest)
        if divide:
            return {k: (p[k] - tau * direction[k]) / longer - p[k] for k in p}
        return {k: -rate * decay * p[k] - tau * direction[k] for k in p}

    return step
