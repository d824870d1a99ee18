"""Scion: the code of its authors, in float64, of matrices `(outputs, inputs)`."""

import numpy as np

from .muon import QUINTIC, newton_schulz

EPS = 1e-8


def spectral(g, maximum=False, normalized=True):
    """Follows `Spectral.lmo`."""
    d_out, d_in = g.shape
    scale = (d_out / d_in) ** 0.5 if normalized else d_out**0.5
    return newton_schulz(g, (QUINTIC,), 5, 1e-7) * (max(1, scale) if maximum else scale)


def spectral_conv(g):
    """Follows `SpectralConv.lmo` of `(outputs, inputs, k)` or `(outputs, inputs, k, k)`."""
    d_out, d_in, k, *_ = g.shape
    u = newton_schulz(g.reshape(d_out, -1), (QUINTIC,), 5, 1e-7).reshape(g.shape)
    return u * ((d_out / d_in) ** 0.5 / k ** (g.ndim - 2))


def sign(g, normalized=True):
    """Follows `Sign.lmo`."""
    return np.sign(g) / (g.shape[1] if normalized else 1)


def col_norm(g, normalized=False):
    """Follows `ColNorm.lmo`."""
    rms = np.sqrt(np.sum(g**2, axis=0, keepdims=True)) / np.sqrt(g.shape[0])
    return g / (rms * (g.shape[1] if normalized else 1) + EPS)


def row_norm(g, normalized=True):
    """Follows `RowNorm.lmo`."""
    size = np.sqrt(np.sum(g**2, axis=-1, keepdims=True))
    return g / (size * (np.sqrt(g.shape[-1]) if normalized else 1) + EPS)


def bias_rms(g):
    """Follows `BiasRMS.lmo`."""
    return g / (np.sqrt(np.mean(g**2, axis=0, keepdims=True)) + EPS)


LMOS = {
    "spectral": spectral,
    "sign": sign,
    "col_norm": col_norm,
    "row_norm": row_norm,
}


def scale_by_scion(radius=None, alpha=0.1, norms=None):
    """Updates the matrix `w`, a hidden layer `(inputs, outputs)`, and the vector `b`."""
    norm = (norms or {"hidden": "spectral"})["hidden"]
    options = {"normalized": norm.normalized} if hasattr(norm, "normalized") else {}
    lmo = LMOS[getattr(norm, "name", norm)]
    if isinstance(radius, dict) or radius is None:
        radii = {"hidden": 50.0, "vector": 50.0} | (radius or {})
    else:
        radii = {"hidden": radius, "vector": radius}
    buf = {"w": 0.0, "b": 0.0}

    def step(grads, params):
        for k, g in grads.items():
            buf[k] = (1 - alpha) * buf[k] + alpha * g
        return {
            "w": radii["hidden"] * lmo(buf["w"].T, **options).T,
            "b": radii["vector"] * bias_rms(buf["b"]),
        }

    return step


def scion(learning_rate, constrained=True, **options):
    update = scale_by_scion(**options)

    def step(grads, params):
        shrinkage = params if constrained else {k: 0 * p for k, p in params.items()}
        return {k: -learning_rate * (shrinkage[k] + u) for k, u in update(grads, params).items()}

    return step
