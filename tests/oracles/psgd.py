"""PSGD-Kron with our random numbers: kron_torch's `EQ`, and psgd_torch's `Q0.5EQ1.5`."""

import functools

import jax
import numpy as np

TINY = np.finfo(np.float64).tiny


@functools.partial(jax.jit, static_argnames=("shapes", "split"))
def draw(seed, step, index, shapes, split):
    """Draws normal numbers of a leaf at a step, from 0: of its key, or of keys split from that."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), index)
    keys = jax.random.split(key, len(shapes)) if split else [key]
    return [jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)]


def norm_by_column(a):
    top = np.abs(a).max()
    a = a / top
    x = a[:, np.argmax((a * a).sum(axis=0))]
    x = x @ a
    return np.linalg.norm(a @ (x / np.linalg.norm(x))) * top


def norm_in_subspace(a, top, noise):
    a = a / (top + TINY)
    row = a[np.argmax(np.linalg.norm(a, axis=1))]
    v = row + np.sign(noise @ row)[:, None] * noise
    for _ in range(2):
        v = v @ a
        v = v / (np.linalg.norm(v, axis=1, keepdims=True) + TINY)
        v = v @ a
    return (top + TINY) * np.linalg.norm(v, axis=1).max()


def rotated(q, noise):
    r = q.T - q
    r = r / (norm_in_subspace(r, np.abs(r).max(), noise) + TINY)
    rq = r @ q
    rrq = r @ rq
    a = min(-np.trace(rq) / np.trace(rrq), 1 / 8) if np.trace(rrq) < 0 else 1 / 8
    return q + a * rq + a**2 / 2 * rrq


def as_matrix(q):
    return np.diag(q) if q.ndim == 1 else q


class Eq:
    """`_update_precond` of kron_torch."""

    def __init__(self, lr, **_):
        self.lr = lr

    def __call__(self, qs, g, *place):
        shape = g.shape if g.ndim == 2 else (1, g.size)
        v = np.float64(draw(*place, shapes=(shape,), split=False)[0]).reshape(g.shape)
        g = g + float(np.finfo(np.float32).eps) ** 0.5 * np.abs(g).mean() * v
        if g.ndim == 1:
            a, b = qs[0] * g, v / qs[0]
            t1, t2 = [a * a], [b * b]
        else:
            left, right = map(as_matrix, qs)
            a = left @ g @ right.T
            b = np.linalg.solve(left.T, v) @ np.linalg.inv(right)
            t1, t2 = [a @ a.T, a.T @ a], [b @ b.T, b.T @ b]
        new = []
        for q, x, y in zip(qs, t1, t2, strict=True):
            if q.ndim == 1:
                x, y = (np.diag(z) if z.ndim == 2 else z for z in (x, y))
                new.append(q - self.lr * (x - y) * q / (x + y).max())
            else:
                new.append(q - self.lr * np.triu(x - y) / norm_by_column(x + y) @ q)
        return new


class Symmetric:
    """`update_precond_kron_whiten_q0p5eq1p5` of psgd_torch."""

    def __init__(self, lr, decay=0.9, damping=1e-9):
        self.lr, self.decay, self.damping = lr, decay, damping
        self.bounds = [0.0, 0.0]

    def __call__(self, qs, g, *place):
        rows, columns = g.shape if g.ndim == 2 else (1, g.size)
        shapes = ((rows, columns), *[(32, n) for n in (rows, rows, columns, columns)])
        noise = [np.float64(x) for x in draw(*place, shapes=shapes, split=True)]
        v = noise[0].reshape(g.shape)
        # The relative part is a rounding error, in the precision of the run.
        eps = np.finfo(np.dtype(jax.numpy.zeros(()).dtype)).eps
        pg = apply(qs, g + (self.damping + eps * np.abs(g)) * v)
        new = []
        for i, q in enumerate(qs):
            if g.ndim == 1:
                gram = pg * pg
            else:
                gram = pg @ pg.T if i == 0 else pg.T @ pg
                gram = np.diag(gram) if q.ndim == 1 else gram
            wanted = g.size / q.shape[0]
            first = 1 + 2 * (i if g.ndim == 2 else 1)
            if q.ndim == 1:
                size = gram.max() + wanted
            else:
                size = norm_in_subspace(gram, np.diag(gram).max(), noise[first]) + wanted
            self.bounds[i] = max(self.decay * self.bounds[i] + (1 - self.decay) * size, size)
            rate = self.lr / self.bounds[i]
            if q.ndim == 1:
                new.append(q * (1 - rate * (gram - wanted)))
            else:
                q = q - rate * (gram @ q - wanted * q)
                new.append(rotated(q, noise[first + 1]))
        return new


def apply(qs, g):
    """Computes P g, with P = Q^T Q."""
    if g.ndim == 1:
        return qs[0] ** 2 * g
    left, right = map(as_matrix, qs)
    return left.T @ left @ g @ right.T @ right


def probability(step):
    return min(1.0, max(0.03, np.exp(-0.001 * (step - 500))))


def start(shape, scale, dense):
    scale = scale ** (1 / len(shape))
    return [
        scale * (np.eye(n) if n > 1 and len(shape) > 1 and dense[i] else np.ones(n))
        for i, n in enumerate(shape)
    ]


def balanced(qs):
    tops = [np.abs(q).max() for q in qs]
    mean = np.exp(np.mean(np.log(tops)))
    return [q * mean / top for q, top in zip(qs, tops, strict=True)]


def scale_by_psgd_kron(
    b1=0.9,
    preconditioner_update_probability=probability,
    preconditioner_lr=0.1,
    max_rms=1.1,
    max_abs=np.inf,
    key=0,
    geometry="EQ",
    momentum_into_preconditioner=True,
    preconditioner_init_scale=1.0,
    lipschitz_decay=0.9,
    damping=1e-9,
    max_size_triangular=8192,
    max_skew_triangular=np.inf,
    memory_save_mode=None,
    diagonal=False,
):
    """Whitens trees of vectors and matrices; leaves are counted in the order of names."""
    leaves, t, waited, fits = {}, 0, 0, 0

    def is_dense(shape):
        square = len(set(shape)) == 1
        saved = [memory_save_mode == "all_diag"] * len(shape)
        if memory_save_mode == "one_diag" or (memory_save_mode == "smart_one_diag" and not square):
            saved[int(np.argsort(shape)[-1])] = True
        return [
            not s and n <= max_size_triangular and n**2 <= max_skew_triangular * np.prod(shape)
            for n, s in zip(shape, saved, strict=True)
        ]

    def leaf_of(k, g):
        if k not in leaves:
            fit = Eq if geometry == "EQ" else Symmetric
            leaves[k] = {
                "mu": 0.0,
                "qs": start(g.shape, preconditioner_init_scale, is_dense(g.shape)),
                "fit": fit(preconditioner_lr, decay=lipschitz_decay, damping=damping),
            }
        return leaves[k]

    def one(k, g, index, fit, balance):
        shape = g.shape
        g = g.ravel() if diagonal else g
        leaf = leaf_of(k, g)
        leaf["mu"] = b1 * leaf["mu"] + (1 - b1) * g
        m = leaf["mu"] / (1 - b1 ** (t + 1))
        if fit:
            qs = balanced(leaf["qs"]) if balance and g.ndim > 1 else leaf["qs"]
            target = m if momentum_into_preconditioner else g
            leaf["qs"] = leaf["fit"](qs, target, key, t, index)
        u = apply(leaf["qs"], m)
        u = u * min(1.0, max_rms / (np.sqrt(np.mean(u**2)) + 1e-12))
        return np.clip(u, -max_abs, max_abs).reshape(shape)

    def step(grads, params):
        nonlocal t, waited, fits
        p = preconditioner_update_probability
        waited += 1
        fit = waited >= 1 / (p(t) if callable(p) else p)
        if fit:
            waited, fits = 0, fits + 1
        balance = fit and fits % 100 == 0
        names = sorted(grads)
        us = {k: one(k, grads[k], i, fit, balance) for i, k in enumerate(names)}
        t += 1
        return us

    return step


def psgd_kron(learning_rate=3e-4, weight_decay=0.0, **options):
    """Adds a learning rate, and weight decay of matrices."""
    whiten = scale_by_psgd_kron(**options)

    def step(grads, params):
        us = whiten(grads, params)
        decay = {k: weight_decay * p * (p.ndim > 1) for k, p in params.items()}
        return {k: -learning_rate * (u + decay[k]) for k, u in us.items()}

    return step
