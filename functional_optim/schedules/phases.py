"""Phases of schedules: interpolation from one value to another, in several shapes."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from ..core.numerics.array_namespace import namespace
from ..core.numerics.precision import safe_sqrt

__all__ = [
    "SHAPES",
    "Phase",
    "after_warmup",
    "interpolate",
    "cosine",
    "linear_ramp",
    "linear",
    "phase",
    "raised",
    "interpolate_through",
]

Array = jax.Array


class Phase(NamedTuple):
    """Shares of a phase that are done and left, each in [0, 1], with the sum 1.

    Both are computed, because each is accurate where it is small: in float32, 1 - done is off by
    6% one update before the end of a million.

    The functions of `SHAPES` turn these shares into weights: `left` becomes the weight of the
    start, and `done` the weight of the end.
    """

    done: Array
    left: Array


def phase(step: Array, steps: Array, begin: Array | float = 0.0) -> Phase:
    """Returns the progress of a phase of `steps` from `begin`; one of no steps is done at once."""
    xp = namespace(step)
    has_steps = steps > 0
    length = xp.where(has_steps, steps, 1.0)
    done = xp.clip((step - begin) / length, 0.0, 1.0)
    left = xp.clip((begin + steps - step) / length, 0.0, 1.0)
    has_begun = xp.where(step < begin, 0.0, 1.0)
    return Phase(xp.where(has_steps, done, has_begun), xp.where(has_steps, left, 1.0 - has_begun))


def interpolate(start: Array, end: Array, weights: Phase) -> Array:
    """Interpolates between two values, exactly at both ends."""
    return start * weights.left + end * weights.done


def linear(progress: Phase) -> Phase:
    """Interpolates in a straight line."""
    return progress


def cosine(progress: Phase) -> Phase:
    """Interpolates by half a cosine: the weight of the start is (1 + cos(pi done)) / 2."""
    # The weights are squares of sines, which do not cancel where 1 + cos does.
    return Phase(_sin_squared(progress.done), _sin_squared(progress.left))


def _sin_squared(share: Array) -> Array:
    xp = namespace(share)
    return xp.square(xp.sin(0.5 * xp.pi * share))


def sqrt(progress: Phase) -> Phase:
    """Interpolates fast, then slowly: the weight of the start is 1 - sqrt(done)."""
    # left / (1 + root) is 1 - root without cancellation.
    root = safe_sqrt(progress.done)
    return Phase(root, progress.left / (1.0 + root))


SHAPES: dict[str, Callable[[Phase], Phase]] = {"linear": linear, "cosine": cosine, "sqrt": sqrt}


def raised(progress: Phase, exponent: Array) -> Phase:
    """Raises the weight of the start to a power; 0 to the power 0 is 1."""
    xp = namespace(progress.left)
    is_positive = progress.left > 0
    # The inner where keeps the derivative of 0**exponent finite.
    left = xp.where(is_positive, progress.left, 1.0) ** exponent
    left = xp.where(is_positive | (exponent == 0), left, 0.0)
    return Phase(1.0 - left, left)


def linear_ramp(step: Array, start: Array, end: Array, steps: Array) -> Array:
    """Interpolates in a straight line from `start`, at step 0, to `end`, at step `steps`."""
    return interpolate(start, end, phase(step, steps))


def after_warmup(
    step: Array, init_value: Array, peak_value: Array, warmup_steps: Array, after: Array
) -> Array:
    """Interpolates from `init_value` to `peak_value` in `warmup_steps`, then returns `after`."""
    warmup = linear_ramp(step, init_value, peak_value, warmup_steps)
    return namespace(step).where(step < warmup_steps, warmup, after)


def interpolate_through(
    step: Array,
    boundaries: Sequence[Array],
    values: Sequence[Array],
    shape: Callable[[Phase], Phase],
) -> Array:
    """Interpolates from each value to the next: the first at step 0, others at their boundaries."""
    xp = namespace(step)
    result = xp.broadcast_to(values[-1], step.shape)
    begins = (xp.zeros_like(boundaries[0]), *boundaries[:-1]) if boundaries else ()
    pieces = list(zip(begins, boundaries, itertools.pairwise(values), strict=True))
    for begin, end, (a, b) in reversed(pieces):
        moving = interpolate(a, b, shape(phase(step, end - begin, begin)))
        result = xp.where(step < end, moving, result)
    return result
