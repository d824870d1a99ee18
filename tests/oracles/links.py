"""The links of which optimizers are made."""

import numpy as np

from .common import Tree, leafwise


@leafwise
def passes(**options):
    """Makes the oracle of links that store values, and return the updates unchanged."""
    return lambda g, p: g


def normalize():
    def step(grads: Tree, params: Tree) -> Tree:
        norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
        return {k: g / norm for k, g in grads.items()}

    return step


@leafwise
def apply_every(k=1):
    gathered = []

    def step(g, p):
        gathered.append(g)
        return sum(gathered[-k:]) if len(gathered) % k == 0 else 0 * g

    return step


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
    """Follows torch.optim.SGD: the first gradient starts the buffer undampened."""
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
