"""Muon: the code of its authors, in float64."""

import numpy as np

from .common import in_order, leafwise

QUINTIC = (3.4445, -4.7750, 2.0315)


def newton_schulz(g, coefficients, steps, eps, factor=1.0):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (factor * np.sqrt(np.sum(x**2)) + eps)
    for i in range(steps):
        a, b, c = coefficients[min(i, len(coefficients) - 1)]
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@leafwise
def orthogonalize(
    ns_coeffs=QUINTIC,
    ns_steps=None,
    eps=1e-7,
    adaptive=False,
    method=None,
    safety_factor=1.0,
    gram=None,
):
    """Orthogonalizes a matrix; a vector is a matrix of one row."""
    triples = ns_coeffs if isinstance(ns_coeffs[0], tuple) else (ns_coeffs,) * 5
    steps = len(triples) if ns_steps is None else ns_steps

    def polar_factor(g):
        u, _, v = np.linalg.svd(g, full_matrices=False)
        return u @ v

    def step(g, p):
        x = np.atleast_2d(g)
        u = polar_factor(x) if method else newton_schulz(x, triples, steps, eps, safety_factor)
        u = u.reshape(g.shape)
        return np.sum(g * u) * u if adaptive else u

    return step


def momentum(beta, nesterov, bias_correction=False):
    """Computes `buf.lerp_(grad, 1 - beta)`, and `grad.lerp(buf, beta)` if nesterov.

    With bias_correction, both are corrected as in optax.
    """
    buf, t = 0.0, 0

    def step(g, p):
        nonlocal buf, t
        t += 1
        buf = buf + (1 - beta) * (g - buf)
        if not bias_correction:
            return g + beta * (buf - g) if nesterov else buf
        if not nesterov:
            return buf / (1 - beta**t)
        return beta * buf / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)

    return step


@leafwise
def scale_by_muon(beta=0.95, nesterov=True, bias_correction=False, **options):
    return in_order(momentum(beta, nesterov, bias_correction), orthogonalize.leaf(**options))


@leafwise
def scale_by_normuon(beta=0.95, beta2=0.95, eps=1e-10, nesterov=True, ns_eps=1e-7, **options):
    """Follows the authors' `normuon_update`: outputs are the rows of the transpose."""
    second = 0.0

    def normalize(u, p):
        nonlocal second
        update = np.atleast_2d(u).T
        norm = np.linalg.norm(update)
        second = second + (1 - beta2) * (np.mean(update * update, axis=1, keepdims=True) - second)
        update = update * (1 / (np.sqrt(second) + eps))
        update = update * (norm / (np.linalg.norm(update) + eps))
        return update.T.reshape(u.shape)

    return in_order(momentum(beta, nesterov), orthogonalize.leaf(eps=ns_eps, **options), normalize)


@leafwise
def scale_by_adamuon(
    beta=0.95,
    beta2=0.95,
    eps=1e-8,
    consistent_rms=0.2,
    nesterov=True,
    use_sign=True,
    ns_eps=1e-7,
    **options,
):
    """Follows the authors' `AdaMuon`.

    It takes signs, an iteration, and Adam's second moment without correction.
    """
    v = 0.0

    def sign(g, p):
        return np.sign(g) if use_sign else g

    def normalize(g, p):
        nonlocal v
        v = beta2 * v + (1 - beta2) * g * g
        g = g / (np.sqrt(v) + eps)
        return g * (consistent_rms * g.size**0.5 / (np.linalg.norm(g) + eps))

    orthogonal = orthogonalize.leaf(eps=ns_eps, **options)
    return in_order(momentum(beta, nesterov), sign, orthogonal, normalize)


def adam(b1, b2=0.999, eps=1e-8):
    """Follows Kingma & Ba, Algorithm 1, for the parameters that are not matrices."""
    m = v = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, t
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def with_adam(direction, scaled=True):
    """Updates matrices `(inputs, outputs)`, which all decay, and with Adam the vector `b`."""

    def oracle(
        learning_rate,
        weight_decay=0.0,
        weight_decay_mask=None,
        consistent_rms=None,
        scale="original",
        muon_weight_dimension_numbers=None,
        axes=None,
        adam_b1=0.9,
        adam_weight_decay=0.0,
        adam_learning_rate=None,
        **options,
    ):
        if not scaled and consistent_rms is not None:
            options["consistent_rms"] = consistent_rms
        find, of_b = direction.leaf(**options), adam(adam_b1)

        def factor(inputs, outputs):
            if not scaled:
                return 1.0
            if scale == "match_rms" or consistent_rms is not None:
                return (consistent_rms or 0.2) * np.sqrt(max(inputs, outputs))
            ratio = outputs / inputs
            return np.sqrt(ratio if scale == "unit_rms" else max(1.0, ratio))

        def step(grads, params):
            u = factor(*params["w"].shape) * find(grads["w"], params["w"])
            w = u + weight_decay * params["w"]
            b = of_b(grads["b"], params["b"]) + adam_weight_decay * params["b"]
            rate = learning_rate if adam_learning_rate is None else adam_learning_rate
            return {"w": -learning_rate * w, "b": -rate * b}

        return step

    return oracle


muon = with_adam(scale_by_muon)
normuon = with_adam(scale_by_normuon)


def adamuon(learning_rate, weight_decay=0.01, **options):
    return with_adam(scale_by_adamuon, scaled=False)(learning_rate, weight_decay, **options)
