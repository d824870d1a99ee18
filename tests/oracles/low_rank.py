"""GaLore and APOLLO, in float64, from the algorithms of the papers."""

import functools

import jax
import numpy as np

from .common import leafwise


def adam(b1=0.9, b2=0.999, eps=1e-8):
    m = v = 0.0
    t = 0

    def step(g):
        nonlocal m, v, t
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def singular_vectors(g, rank):
    """Returns eigenvectors of G G^T, with the largest elements positive."""
    _, vectors = np.linalg.eigh(g @ g.T)
    vectors = vectors[:, ::-1][:, :rank]
    return vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), range(rank)])


@leafwise
def scale_by_galore(rank=128, update_proj_gap=200, scale=1.0, side="longer"):
    base, projection, t = adam(), None, 0

    def step(g, p):
        nonlocal projection, t
        if g.ndim < 2:
            return base(g)
        rows, columns = g.shape
        swap = rows < columns if side == "longer" else rows > columns
        x = g.T if swap else g
        if t % update_proj_gap == 0:
            projection = singular_vectors(x, min(rank, rows, columns))
        t += 1
        u = scale * projection @ base(projection.T @ x)
        return u.T if swap else u

    return step


@functools.partial(jax.jit, static_argnames="shape")
def draw(seed, step, index, shape):
    """Draws the normal numbers of a leaf, whose projection changes at a step, from 0."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), index)
    words = jax.random.bits(key, (2,), np.uint32)
    return jax.random.normal(jax.random.wrap_key_data(words, impl="threefry2x32"), shape)


def scale_by_apollo(
    rank=256,
    update_proj_gap=200,
    scale=1.0,
    b1=0.9,
    b2=0.999,
    eps=1e-6,
    growth_limit=1.01,
    key=0,
    tensor_wise=False,
):
    """Numbers the leaves in the order of their names."""
    leaves, t = {}, 0

    def one(k, g, index):
        leaf = leaves.setdefault(k, {"m": 0.0, "v": 0.0, "norm": None})
        x = np.atleast_2d(g)
        x = x.T if x.shape[0] > x.shape[1] else x
        r = min(rank, x.shape[0])
        if (t - 1) % update_proj_gap == 0:
            normal = np.float64(draw(key, t - 1, index, shape=(x.shape[0], r)))
            leaf["P"] = normal / np.sqrt(r)
        low = leaf["P"].T @ x
        leaf["m"] = b1 * leaf["m"] + (1 - b1) * low
        leaf["v"] = b2 * leaf["v"] + (1 - b2) * low**2
        direction = leaf["m"] / (np.sqrt(leaf["v"]) + eps)
        axis = None if tensor_wise else 0
        x = x * np.linalg.norm(direction, axis=axis) / (np.linalg.norm(low, axis=axis) + 1e-8)
        norm = np.linalg.norm(x)
        if leaf["norm"] is not None and growth_limit is not None:
            limiter = max(norm / (leaf["norm"] + 1e-8), growth_limit) / growth_limit
            x, norm = x / limiter, norm / limiter
        leaf["norm"] = norm
        u = np.sqrt(scale) * np.sqrt(1 - b2**t) / (1 - b1**t) * x
        return (
            u.T.reshape(g.shape) if g.ndim > 1 and g.shape[0] > g.shape[1] else u.reshape(g.shape)
        )

    def step(grads, params):
        nonlocal t
        t += 1
        return {k: one(k, grads[k], i) for i, k in enumerate(sorted(grads))}

    return step


def galore(learning_rate, weight_decay=0.0, **options):
    direction = scale_by_galore(**options)

    def step(grads, params):
        us = direction(grads, params)
        return {k: -learning_rate * (u + weight_decay * params[k]) for k, u in us.items()}

    return step


def apollo(
    learning_rate,
    weight_decay=0.0,
    adam_b1=0.9,
    adam_b2=0.999,
    adam_eps=1e-6,
    adam_weight_decay=0.0,
    adam_learning_rate=None,
    **options,
):
    """Updates the matrix `w` with APOLLO, and the vector `b` with Adam."""
    direction, other = scale_by_apollo(**options), adam(adam_b1, adam_b2, adam_eps)
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate

    def step(grads, params):
        w = direction(grads, params)["w"] + weight_decay * params["w"]
        b = other(grads["b"]) + adam_weight_decay * params["b"]
        return {"w": -learning_rate * w, "b": -rate * b}

    return step


def apollo_mini(learning_rate, scale=128.0, **options):
    return apollo(learning_rate, scale=scale, rank=1, tensor_wise=True, **options)
