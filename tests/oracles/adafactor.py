"""Adafactor: the paper's algorithms, and the code of T5 and torch where they leave a choice."""

import numpy as np

from .common import leafwise


def rms(x):
    return np.sqrt(np.mean(x**2))


@leafwise
def clip_by_block_rms(threshold):
    return lambda g, p: g / max(1.0, rms(g) / threshold)


@leafwise
def scale_by_relative_step(max_step=1e-2, warmup_step=None, weight_decay=0.0):
    """Follows section 8: rho_t is the smaller of 1 / sqrt(t) and a constant or a ramp."""
    t = 0

    def step(g, p):
        nonlocal t
        t += 1
        steps = [max_step, 1 / np.sqrt(t)] + ([] if warmup_step is None else [warmup_step * t])
        return min(steps) * g + max_step * weight_decay * p

    return step


@leafwise
def scale_by_factored_rms(
    factored=True,
    decay_rate=0.8,
    step_offset=0,
    min_dim_size_to_factor=128,
    epsilon=1e-30,
    decay_rate_fn=None,
    dims="largest",
    eps_as_floor=False,
):
    """Follows Algorithms 4 and 5, with sums as in Algorithm 3; the floors are torch's.

    The matrices of these tests are the last two axes, whichever are the largest.
    """
    t, rows, columns, whole = 0, 0.0, 0.0, 0.0

    def step(g, p):
        nonlocal t, rows, columns, whole
        t += 1
        since = max(t - step_offset, 1)
        decay = 1 - since**-decay_rate
        if decay_rate_fn is not None:
            decay = decay_rate_fn(since - 1, decay_rate)
        floor = np.finfo(g.dtype).eps if epsilon is None else epsilon
        square = g**2 + (0 if eps_as_floor else floor)
        if not factored or g.ndim < 2 or min(g.shape[-2:]) < min_dim_size_to_factor:
            whole = decay * whole + (1 - decay) * square
            return g / np.sqrt(np.maximum(whole, floor**2) if eps_as_floor else whole)
        rows = decay * rows + (1 - decay) * square.sum(-1)
        columns = decay * columns + (1 - decay) * square.sum(-2)
        outer, total = rows[..., :, None] * columns[..., None, :], rows.sum(-1)[..., None, None]
        if not eps_as_floor:
            return g / np.sqrt(outer / total)
        m, n = g.shape[-2:]
        outer, mean = outer / (m * n), total / (m * n)
        return g / np.sqrt(np.maximum(outer / np.maximum(mean, floor), floor**2))

    return step


@leafwise
def adafactor(
    learning_rate=None,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=None,
    warmup_step=None,
    decay_offset=0,
    eps=1e-30,
    **options,
):
    """Follows Algorithm 6; momentum and weight decay are as in Tensor2Tensor and optax."""
    direction = scale_by_factored_rms.leaf(step_offset=decay_offset, epsilon=eps, **options)
    relative = scale_by_relative_step.leaf(warmup_step=warmup_step)
    mean = 0.0

    def step(g, p):
        nonlocal mean
        u = direction(g, p)
        if clipping_threshold is not None:
            u = clip_by_block_rms.leaf(clipping_threshold)(u, p)
        u = relative(u, p) if learning_rate is None else learning_rate * u
        if multiply_by_parameter_scale:
            u = max(1e-3, rms(p)) * u
        if momentum is not None:
            u = mean = momentum * mean + (1 - momentum) * u
        return -u - (weight_decay_rate or 0.0) * p

    return step
