"""Shampoo, as Meta's code has it, in float64; the Newton iteration as Anil et al. have it."""

import numpy as np

from .common import leafwise
from .muon import adam


def power_by_svd(a, exponent, relative, eps, pseudo):
    """Computes a power of a symmetric matrix without negative eigenvalues."""
    u, s, _ = np.linalg.svd(a)
    ridge = eps * s[0] if relative else eps
    if not pseudo:
        return (u * (s + ridge) ** -exponent) @ u.T
    rank = np.sum(s > len(s) * np.finfo(np.float64).eps * s[0])
    return (u[:, :rank] * (s[:rank] + ridge) ** -exponent) @ u[:, :rank].T


def power_by_newton(a, exponent, relative, eps):
    """Runs Guo & Higham's coupled iteration: X tends to A^(-1/p) as M tends to 1."""
    p, n = round(1 / exponent), len(a)
    a = a + eps * (np.linalg.norm(a, 2) if relative else 1.0) * np.eye(n)
    z = (p + 1) / (2 * np.linalg.norm(a))
    x, m = z ** (1 / p) * np.eye(n), z * a
    for _ in range(100):
        if np.abs(m - np.eye(n)).max() <= 1e-6:
            break
        factor = np.eye(n) - (m - np.eye(n)) / p
        x, m = x @ factor, np.linalg.matrix_power(factor, p) @ m
    return x


def power_by_qr(a, exponent, eps, basis):
    """Runs one QR iteration on the factor in its last basis, with sorted eigenvalues."""
    inside = basis.T @ (a + eps * np.eye(len(a))) @ basis
    q, r = np.linalg.qr(inside)
    values, basis = np.diag(r @ q), basis @ q
    order = np.argsort(-values, kind="stable")
    values, basis = values[order], basis[:, order]
    if values[-1] < eps:
        values = values - values[-1] + eps
    return basis @ np.diag(values**-exponent) @ basis.T, basis


@leafwise
def scale_by_shampoo(
    b1=0.9,
    b2=1.0,
    eps=1e-12,
    precondition_frequency=1,
    start_preconditioning_step=None,
    graft_b2=0.999,
    graft_eps=1e-10,
    grafting="none",
    root="eigh",
    exponent=None,
    relative_eps=False,
    pseudo_inverse=False,
    one_sided=False,
    max_precond_dim=10000,
    use_bias_correction=True,
):
    """Preconditions the axes of a matrix or a vector, one after another."""
    start = (
        precondition_frequency if start_preconditioning_step is None else start_preconditioning_step
    )
    mean, square, t = 0.0, 0.0, 0
    factors, roots, bases = {}, {}, {}

    def axes_of(shape):
        axes = list(range(len(shape)))
        if one_sided and len(axes) == 2:
            axes = [int(np.argmin(shape))]
        return [k for k in axes if shape[k] <= max_precond_dim]

    def compute_root(k, order):
        a = factors[k]
        if use_bias_correction and b2 < 1:
            a = a / (1 - b2**t)
        power = exponent or 1 / (2 * order)
        if root == "newton":
            roots[k] = power_by_newton(a, power, relative_eps, eps)
        elif root == "qr":
            last = bases.get(k, np.eye(len(a)))
            roots[k], bases[k] = power_by_qr(a, power, eps, last)
        else:
            roots[k] = power_by_svd(a, power, relative_eps, eps, pseudo_inverse)

    def grafted(m, g):
        nonlocal square
        if grafting == "sgd":
            return m
        decay = {"adagrad": 1.0}.get(grafting, graft_b2)
        square = decay * square + (1.0 if decay == 1 else 1 - decay) * g**2
        corrected = square / (1 - decay**t) if grafting == "adam" else square
        return m / (np.sqrt(corrected) + graft_eps)

    def step(g, p):
        nonlocal mean, t
        t += 1
        axes = axes_of(g.shape)
        for k in axes:
            others = [i for i in range(g.ndim) if i != k]
            outer = np.tensordot(g, g, axes=(others, others))
            factors[k] = b2 * factors.get(k, 0.0) + (1.0 if b2 == 1 else 1 - b2) * outer
            if t == start or (t > start and t % precondition_frequency == 0):
                compute_root(k, len(axes))
        m = g
        if b1 is not None:
            mean = b1 * mean + (1 - b1) * g
            m = mean / (1 - b1**t) if use_bias_correction else mean
        u = m
        for k in axes:
            if k in roots:
                u = np.moveaxis(np.tensordot(roots[k], u, axes=(1, k)), 0, k)
        if grafting == "none":
            return u
        other = grafted(m, g)
        return other if t < start else u * np.linalg.norm(other) / np.linalg.norm(u)

    return step


def shampoo(
    learning_rate,
    weight_decay=0.0,
    weight_decay_mask=None,
    momentum=0.0,
    nesterov=False,
    block_size=None,
    adam_b1=0.9,
    adam_weight_decay=0.0,
    adam_learning_rate=None,
    **options,
):
    """Gives each block of the matrix `w` a Shampoo, and the vector `b` Adam; all decay."""
    blocks, of_b, total = {}, adam(adam_b1), 0.0

    def step(grads, params):
        nonlocal total
        g, u = grads["w"], np.zeros_like(grads["w"])
        size = block_size or max(g.shape)
        for i in range(0, g.shape[0], size):
            for j in range(0, g.shape[1], size):
                at = np.s_[i : i + size, j : j + size]
                block = blocks.setdefault((i, j), scale_by_shampoo.leaf(**options))
                u[at] = block(g[at], None)
        d = u + weight_decay * params["w"]
        total = momentum * total + d
        d = d + momentum * total if nesterov else total
        b = of_b(grads["b"], params["b"]) + adam_weight_decay * params["b"]
        rate = learning_rate if adam_learning_rate is None else adam_learning_rate
        return {"w": -learning_rate * d, "b": -rate * b}

    return step
