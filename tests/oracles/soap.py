"""SOAP, KL-Shampoo and KL-SOAP, with the numbers of their authors' code, in float64."""

import numpy as np

from .adam import scale_by_adam
from .common import leafwise
from .muon import newton_schulz


def eigenvectors(factor):
    """Returns eigenvectors, that of the largest eigenvalue first."""
    return np.linalg.eigh(factor)[1][:, ::-1]


@leafwise
def scale_by_soap(
    b1=0.95,
    b2=0.95,
    eps=1e-8,
    precondition_frequency=10,
    shampoo_beta=-1.0,
    max_precond_dim=10000,
    one_sided=False,
    normalize_grads=False,
    correct_bias=True,
):
    """Follows `soap.py` of Vyas et al., in which m is kept in the bases, and here too."""
    b3 = b2 if shampoo_beta < 0 else shampoo_beta
    m = v = 0.0
    factors, bases = {}, {}
    n = -1

    def bases_of(x):
        if x.ndim < 2:
            return []
        shorter = int(x.shape[0] > x.shape[1])
        sides = [shorter] if one_sided else [0, 1]
        return [axis for axis in sides if 1 < x.shape[axis] <= max_precond_dim]

    def project(x, back=False):
        for axis, q in bases.items():
            x = np.moveaxis(np.tensordot(x, q, axes=(axis, 1 if back else 0)), -1, axis)
        return x

    def step(g, p):
        nonlocal m, v, n
        n += 1
        u = np.zeros_like(g)
        if n > 0:
            projected = project(g)
            m = b1 * m + (1 - b1) * projected
            v = b2 * v + (1 - b2) * projected**2
            u = project(m / (np.sqrt(v) + eps), back=True)
            if normalize_grads:
                u = u / (1e-30 + np.sqrt(np.mean(u**2)))
            if correct_bias:
                u = u * np.sqrt(1 - b2**n) / (1 - b1**n)
        m = project(m, back=True) if n > 0 else np.zeros_like(g)
        v = np.zeros_like(g) if n == 0 else v
        for axis in bases_of(g):
            outer = g @ g.T if axis == 0 else g.T @ g
            factors[axis] = b3 * factors.get(axis, 0.0) + (1 - b3) * outer
            if n == 0:
                bases[axis] = eigenvectors(factors[axis])
            elif n % precondition_frequency == 0:
                q = bases[axis]
                order = np.argsort(-np.diag(q.T @ factors[axis] @ q), kind="stable")
                v = np.take(v, order, axis)
                bases[axis] = np.linalg.qr(factors[axis] @ q[:, order])[0]
        m = project(m)
        return u

    return step


def _kullback_leibler(b3, max_clamp, init_factor, max_precond_dim, precondition_frequency):
    """Follows `update_2d_preconditioner` of Lin et al., which both rules share."""
    factors, bases, inverse_roots = [0.0, 0.0], [], []

    def start(g):
        for axis in (0, 1):
            factors[axis] = (1 - b3) * _outer(g, axis) / g.shape[1 - axis]
            long = not 1 < g.shape[axis] <= max_precond_dim
            bases.append(np.eye(g.shape[axis]) if long else eigenvectors(factors[axis]))
            inverse_roots.append(np.full(g.shape[axis], init_factor**-0.5))

    def update(g, n):
        projected = bases[0].T @ g @ bases[1]
        new = []
        for axis in (0, 1):
            other, width = 1 - axis, g.shape[1 - axis]
            along = g if axis == 0 else g.T
            half = along @ bases[other] * inverse_roots[other]
            factors[axis] = b3 * factors[axis] + (1 - b3) * half @ half.T / width
            whitened = (projected if axis == 0 else projected.T) * inverse_roots[other]
            value = inverse_roots[axis] ** -2.0
            value = b3 * value + (1 - b3) * np.mean(whitened**2, axis=1)
            root = 1 / np.sqrt(value)
            if max_clamp is not None:
                root = np.minimum(root, max(10, min(g.shape[axis], max_clamp)))
            new.append(root)
        inverse_roots[:] = new
        if n % precondition_frequency == 0:
            for axis in (0, 1):
                if 1 < g.shape[axis] <= max_precond_dim:
                    bases[axis] = np.linalg.qr(factors[axis] @ bases[axis])[0]

    return start, update, bases, inverse_roots


def _outer(g, axis):
    return g @ g.T if axis == 0 else g.T @ g


def _of_kl(direction):
    """Makes a rule from its divisor; a vector is a matrix of one row without bases."""

    @leafwise
    def rule(
        b1=0.9,
        b2=0.98,
        eps=1e-8,
        precondition_frequency=10,
        shampoo_beta=-1.0,
        max_clamp=4000,
        init_factor=0.1,
        max_precond_dim=10000,
        normalize_grads=False,
    ):
        b3 = b2 if shampoo_beta < 0 else shampoo_beta
        n = -1
        rules = {}

        def step(g, p):
            nonlocal n
            n += 1
            longest = 0 if g.ndim < 2 else max_precond_dim
            matrix = np.atleast_2d(g)
            if n == 0:
                rules["kl"] = _kullback_leibler(
                    b3, max_clamp, init_factor, longest, precondition_frequency
                )
                rules["divide"] = direction(b1, b2, eps)
                rules["kl"][0](matrix)
                return np.zeros_like(g)
            _, update, bases, inverse_roots = rules["kl"]
            u = rules["divide"](matrix, bases, inverse_roots)
            update(matrix, n)
            if normalize_grads:
                u = u / (1e-30 + np.sqrt(np.mean(u**2)))
            return u.reshape(g.shape)

        return step

    return rule


@_of_kl
def scale_by_kl_shampoo(b1, b2, eps):
    m = 0.0

    def divide(g, bases, inverse_roots):
        nonlocal m
        m = b1 * m + (1 - b1) * g
        scale = np.outer(*inverse_roots)
        scale = scale / (1 + scale * eps)
        return bases[0] @ (bases[0].T @ m @ bases[1] * scale) @ bases[1].T

    return divide


@_of_kl
def scale_by_kl_soap(b1, b2, eps):
    m = v = 0.0

    def divide(g, bases, inverse_roots):
        nonlocal m, v
        m = b1 * m + (1 - b1) * g
        projected = bases[0].T @ g @ bases[1]
        v = b2 * v + (1 - b2) * projected**2
        return bases[0] @ (bases[0].T @ m @ bases[1] / (np.sqrt(v) + eps)) @ bases[1].T

    return divide


def _with_adam(direction, decay=0.01, adam_b=(0.9, 0.999), adam_decay=0.0):
    """Updates matrices with a direction, and the vector `b` with Adam."""

    def optimizer(
        learning_rate,
        weight_decay=decay,
        adam_b1=adam_b[0],
        adam_b2=adam_b[1],
        adam_weight_decay=adam_decay,
        adam_learning_rate=None,
        **options,
    ):
        find, adam = direction(**options), scale_by_adam.leaf(b1=adam_b1, b2=adam_b2)

        def step(grads, params):
            w = find(grads["w"], params["w"]) + weight_decay * params["w"]
            b = adam(grads["b"], params["b"]) + adam_weight_decay * params["b"]
            rate = learning_rate if adam_learning_rate is None else adam_learning_rate
            return {"w": -learning_rate * w, "b": -rate * b}

        return step

    return optimizer


def _soap_muon(ns_coeffs=(3.4445, -4.7750, 2.0315), ns_steps=5, consistent_rms=None, **options):
    find = scale_by_soap.leaf(**options)

    def step(g, p):
        u = newton_schulz(find(g, p), (ns_coeffs,), ns_steps, 1e-7)
        inputs, outputs = p.shape
        if consistent_rms is not None:
            return consistent_rms * np.sqrt(max(inputs, outputs)) * u
        return np.sqrt(max(1.0, outputs / inputs)) * u

    return step


soap = _with_adam(scale_by_soap.leaf, adam_b=(0.95, 0.95), adam_decay=0.01)
soap_muon = _with_adam(_soap_muon, decay=0.0)
kl_shampoo = _with_adam(scale_by_kl_shampoo.leaf)
kl_soap = _with_adam(scale_by_kl_soap.leaf)
