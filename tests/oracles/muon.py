"""Muon: the code of its authors, in float64."""

import numpy as np

from .common import leafwise

QUINTIC = (3.4445, -4.7750, 2.0315)


def newton_schulz(g, coefficients, steps, eps):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.sqrt(np.sum(x**2)) + eps)
    for i in range(steps):
        a, b, c = coefficients[min(i, len(coefficients) - 1)]
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@leafwise
def orthogonalize(ns_coeffs=QUINTIC, ns_steps=5, eps=1e-7, adaptive=False):
    """A vector is a matrix of one row."""
    triples = ns_coeffs if isinstance(ns_coeffs[0], tuple) else (ns_coeffs,)

    def step(g, p):
        u = newton_schulz(np.atleast_2d(g), triples, ns_steps, eps).reshape(g.shape)
        return np.sum(g * u) * u if adaptive else u

    return step


@leafwise
def scale_by_muon(beta=0.95, nesterov=True, **how):
    """`buf.lerp_(grad, 1 - beta)`, and `grad.lerp(buf, beta)` with nesterov."""
    buf = 0.0
    orthogonal = orthogonalize.leaf(**how)

    def step(g, p):
        nonlocal buf
        buf = buf + (1 - beta) * (g - buf)
        return orthogonal(g + beta * (buf - g) if nesterov else buf, p)

    return step


def adam(b1, b2=0.999, eps=1e-8):
    """Kingma & Ba, Algorithm 1, for the parameters that are no matrices."""
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def muon(
    learning_rate,
    weight_decay=0.0,
    weight_decay_mask=None,
    consistent_rms=None,
    muon_weight_dimension_numbers=None,
    adam_b1=0.9,
    adam_weight_decay=0.0,
    adam_learning_rate=None,
    **how,
):
    """Matrices are `(inputs, outputs)`, and all decay; the vector `b` is Adam's."""
    orthogonal, of_b = scale_by_muon.leaf(**how), adam(adam_b1)

    def step(grads, params):
        inputs, outputs = params["w"].shape
        factor = np.sqrt(max(1.0, outputs / inputs))
        if consistent_rms is not None:
            factor = consistent_rms * np.sqrt(max(inputs, outputs))
        w = factor * orthogonal(grads["w"], params["w"]) + weight_decay * params["w"]
        b = of_b(grads["b"], params["b"]) + adam_weight_decay * params["b"]
        rate = learning_rate if adam_learning_rate is None else adam_learning_rate
        return {"w": -learning_rate * w, "b": -rate * b}

    return step
