"""Dion and Dion2: the code of their authors, in float64, of matrices `(outputs, inputs)`."""

import jax
import numpy as np

from .common import leafwise
from .muon import newton_schulz

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def first_q(shape, leaf):
    """Returns the matrix that the key 0 draws for a leaf at its first update."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), leaf)
    return np.asarray(jax.random.normal(key, shape, np.float32), np.float64)


def _dion(leaf, beta, eps, rank_fraction, rank_multiple_of):
    """Follows `dion_update` of `dion_reference.py`, with exact QR."""
    m = q = None

    def step(g, p):
        nonlocal m, q
        g = np.atleast_2d(g).T
        if m is None:
            m = np.zeros_like(g)
            r = rank_fraction * min(g.shape)
            r = min(rank_multiple_of * int(np.ceil(r / rank_multiple_of)), *g.shape)
            q = first_q((min(g.shape), r), leaf)
        m = m + g
        transpose = m.shape[0] < m.shape[1]
        b = m.T if transpose else m
        left, _ = np.linalg.qr(b @ q)
        right = b.T @ left
        low_rank = left @ right.T
        m = m - (1 - beta) * (low_rank.T if transpose else low_rank)
        q = right / (np.linalg.norm(right, axis=0, keepdims=True) + eps)
        u = q @ left.T if transpose else left @ q.T
        return u.T.reshape(p.shape)

    return step


def scale_by_dion(beta=0.95, eps=1e-8, rank_fraction=1.0, rank_multiple_of=1, qr_method="qr"):
    """Gives each leaf its own Q; a vector is a matrix of one input.

    Both methods have the columns of one decomposition, up to signs, which cancel.
    """
    assert qr_method in ("qr", "rcqr")
    steps = {
        k: _dion(i, beta, eps, rank_fraction, rank_multiple_of) for i, k in enumerate(("b", "w"))
    }
    return lambda grads, params: {k: steps[k](g, params[k]) for k, g in grads.items()}


def _polar_express(g, eps):
    x = g / (1.02 * np.sqrt(np.sum(g**2)) + eps)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _dion2(beta, eps, fraction, ns_coeffs):
    """Follows `dion2_pre_orthogonalize`, `polar_express` and `dion2_post_orthogonalize`."""
    m = None

    def step(g, p):
        nonlocal m
        g = np.atleast_2d(g).T
        m = np.zeros_like(g) if m is None else m
        m = m + g
        rows = m.shape[0] <= m.shape[1]
        view = m if rows else m.T
        k = max(1, int(np.ceil(fraction * len(view))))
        chosen = np.argsort(-np.abs(view).sum(axis=1), kind="stable")[:k]
        part = view[chosen].copy()
        view[chosen] *= beta
        u = np.zeros_like(view)
        if ns_coeffs is None:
            u[chosen] = _polar_express(part, eps)
        else:
            u[chosen] = newton_schulz(part, (ns_coeffs,), 5, eps)
        return (u.T if rows else u).reshape(p.shape)

    return step


@leafwise
def scale_by_dion2(beta=0.95, eps=1e-8, fraction=0.25, ns_coeffs=None):
    return _dion2(beta, eps, fraction, ns_coeffs)


def _adam(b1=0.9, b2=0.95, eps=1e-8):
    m = v = 0.0
    t = 0

    def step(g):
        nonlocal m, v, t
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def _of_matrix(direction, learning_rate, weight_decay, scale, adam_b1):
    """Updates the matrix `w`, `(inputs, outputs)`, and with Adam the vector `b`."""
    adam = _adam(adam_b1)

    def step(grads, params):
        w = scale(*params["w"].shape) * direction(grads["w"], params["w"])
        w = w + weight_decay * params["w"]
        return {"w": -learning_rate * w, "b": -learning_rate * adam(grads["b"])}

    return step


def dion(
    learning_rate,
    beta=0.95,
    eps=1e-8,
    weight_decay=0.01,
    rank_fraction=1.0,
    rank_multiple_of=1,
    adam_b1=0.9,
):
    rule = _dion(1, beta, eps, rank_fraction, rank_multiple_of)
    return _of_matrix(rule, learning_rate, weight_decay, lambda i, o: np.sqrt(o / i), adam_b1)


def dion2(
    learning_rate,
    beta=0.95,
    eps=1e-8,
    weight_decay=0.01,
    fraction=0.25,
    consistent_rms=None,
    adam_b1=0.9,
):
    def scale(inputs, outputs):
        if consistent_rms is None:
            return np.sqrt(outputs / inputs)
        return consistent_rms * np.sqrt(max(inputs, outputs))

    rule = _dion2(beta, eps, fraction, None)
    return _of_matrix(rule, learning_rate, weight_decay, scale, adam_b1)
