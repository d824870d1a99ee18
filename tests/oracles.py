"""The published algorithms once more, in NumPy and float64: what the package is compared with.

Each follows the text of its paper, or of torch where the paper leaves a choice, and not our
code. It takes the arguments of the factory of its name and returns a function of one step:
`(grads, params) -> updates`, dictionaries of arrays.
"""

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

Tree = dict[str, np.ndarray]
Step = Callable[[Tree, Tree], Tree]


def leafwise(maths: Callable[..., Any]) -> Callable[..., Step]:
    """Makes an oracle of trees out of one of arrays, which keeps its own memory for each leaf."""

    @functools.wraps(maths)
    def oracle(**arguments: Any) -> Step:
        steps: Any = defaultdict(lambda: maths(**arguments))
        return lambda grads, params: {k: steps[k](g, params[k]) for k, g in grads.items()}

    oracle.leaf = maths  # type: ignore[attr-defined]
    return oracle


def in_order(*steps: Callable[..., Any]) -> Callable[..., Any]:
    """Applies the steps one after another to what the last has made."""
    return lambda g, p: functools.reduce(lambda u, step: step(u, p), steps, g)


@leafwise
def scale(step_size):
    return lambda g, p: step_size * g


@leafwise
def scale_by_learning_rate(learning_rate, flip_sign=True):
    return lambda g, p: -learning_rate * g if flip_sign else learning_rate * g


@leafwise
def add_decayed_weights(weight_decay=0.0):
    return lambda g, p: g + weight_decay * p


@leafwise
def clip(max_delta):
    return lambda g, p: np.minimum(np.maximum(g, -max_delta), max_delta)


def clip_by_global_norm(max_norm):
    def step(grads: Tree, params: Tree) -> Tree:
        norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
        return {k: g * max_norm / norm if norm > max_norm else g for k, g in grads.items()}

    return step


@leafwise
def trace(decay, nesterov=False, dampening=0.0):
    """torch.optim.SGD: the first gradient starts the buffer undampened."""
    buffer = None

    def step(g, p):
        nonlocal buffer
        if not decay:
            return g
        buffer = g if buffer is None else decay * buffer + (1 - dampening) * g
        return g + decay * buffer if nesterov else buffer

    return step


@leafwise
def ema(decay, debias=True):
    m, t = 0.0, 0

    def step(g, p):
        nonlocal m, t
        t += 1
        m = decay * m + (1 - decay) * g
        return m / (1 - decay**t) if debias else m

    return step


@leafwise
def scale_by_adam(b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, nesterov=False, amsgrad=False):
    """Kingma & Ba, Algorithm 1; AMSGrad as in torch; Nesterov as in Dozat with a constant b1.

    The betas may be functions of the step number t = 1, 2, ...: torch, too, divides by 1 minus
    the power of the beta in force.
    """
    beta1, beta2 = (b if callable(b) else (lambda t, b=b: b) for b in (b1, b2))
    m = v = largest = 0.0
    t = 0

    def step(g, p):
        nonlocal m, v, largest, t
        t += 1
        b1, b2 = beta1(t), beta2(t)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        nu = (largest if amsgrad else v) / (1 - b2**t)
        mu = m / (1 - b1**t)
        if nesterov:
            mu = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return mu / (np.sqrt(nu + eps_root) + eps)

    return step


@leafwise
def scale_by_lion(b1=0.9, b2=0.99):
    """Chen et al., Algorithm 2. Refuses a problem in which rounding could turn a sign."""
    m = 0.0

    def step(g, p):
        nonlocal m
        c = b1 * m + (1 - b1) * g
        assert np.abs(c).min() > 1e-6, "choose gradients whose signs are decided"
        m = b2 * m + (1 - b2) * g
        return np.sign(c)

    return step


@leafwise
def scale_by_rms(
    decay=0.9,
    eps=1e-8,
    initial_scale=0.0,
    eps_in_sqrt=True,
    bias_correction=False,
    centered=False,
):
    """Tieleman & Hinton; centred as in Graves, equations 38 to 41, without his outer momentum."""
    n, m, t = initial_scale, 0.0, 0

    def step(g, p):
        nonlocal n, m, t
        t += 1
        n = decay * n + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        correction = 1 - decay**t if bias_correction else 1.0
        s = n / correction - (m / correction) ** 2 if centered else n / correction
        return g / (np.sqrt(s + eps) if eps_in_sqrt else np.sqrt(s) + eps)

    return step


@leafwise
def sgd(learning_rate, momentum=0.0, **how):
    return in_order(trace.leaf(momentum, **how), scale.leaf(-learning_rate))


@leafwise
def adam(learning_rate, **how):
    return in_order(scale_by_adam.leaf(**how), scale.leaf(-learning_rate))


@leafwise
def rmsprop(learning_rate, momentum=0.0, nesterov=False, dampening=0.0, **how):
    moved = trace.leaf(momentum, nesterov, dampening)
    return in_order(scale_by_rms.leaf(**how), moved, scale.leaf(-learning_rate))


def decoupled(direction: Callable[..., Step], default: float) -> Callable[..., Step]:
    """An algorithm with decoupled weight decay: p <- p - learning_rate (u + weight_decay p)."""

    def oracle(learning_rate, weight_decay=default, mask=None, **how) -> Step:
        find = direction(**how)

        def step(grads: Tree, params: Tree) -> Tree:
            where = mask(params) if mask else dict.fromkeys(params, True)
            decay = {k: weight_decay * p * where[k] for k, p in params.items()}
            return {k: -learning_rate * (u + decay[k]) for k, u in find(grads, params).items()}

        return step

    return oracle


adamw = decoupled(scale_by_adam, default=1e-4)
lion = decoupled(scale_by_lion, default=1e-3)
