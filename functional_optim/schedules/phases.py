"""What schedules are made of: a phase that moves from one value to another."""

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
    "between",
    "cosine",
    "line",
    "linear",
    "phase",
    "raised",
    "through",
]

Array = jax.Array


class Phase(NamedTuple):
    """Shares of a phase that are done and left, each in [0, 1].

    They add up to 1, and both are kept because each is accurate where it is small: in
    float32, 1 - done is off by 6% one update before the end of a million.

    After a shape is put on it, the shares are the weights of the two values.
    """

    done: Array
    left: Array


def phase(step: Array, steps: Array, begin: Array | float = 0.0) -> Phase:
    """Returns the progress, in [0, 1], of a phase of `steps` from `begin`; 1 for no steps."""
    xp = namespace(step)
    some = steps > 0
    length = xp.where(some, steps, 1.0)
    done = xp.clip((step - begin) / length, 0.0, 1.0)
    left = xp.clip((begin + steps - step) / length, 0.0, 1.0)
    begun = xp.where(step < begin, 0.0, 1.0)
    return Phase(xp.where(some, done, begun), xp.where(some, left, 1.0 - begun))


def between(start: Array, end: Array, weights: Phase) -> Array:
    """Interpolates: exactly `start` where nothing is done, exactly `end` where all is."""
    return start * weights.left + end * weights.done


def linear(of: Phase) -> Phase:
    """Interpolates in a straight line."""
    return of


def cosine(of: Phase) -> Phase:
    """Interpolates by half a cosine: the start weighs (1 + cos(pi done)) / 2."""
    # As squares, which do not cancel where 1 + cos does.
    return Phase(_sin_squared(of.done), _sin_squared(of.left))


def _sin_squared(share: Array) -> Array:
    xp = namespace(share)
    return xp.square(xp.sin(0.5 * xp.pi * share))


def sqrt(of: Phase) -> Phase:
    """Interpolates steeply, then flatly: the start weighs 1 - sqrt(done)."""
    root = safe_sqrt(of.done)
    return Phase(root, of.left / (1.0 + root))


SHAPES: dict[str, Callable[[Phase], Phase]] = {"linear": linear, "cosine": cosine, "sqrt": sqrt}


def raised(of: Phase, exponent: Array) -> Phase:
    """Raises the weight of the start to a power; 0 to the power 0 is 1."""
    xp = namespace(of.left)
    some = of.left > 0
    # The inner where keeps the derivative of 0**exponent finite.
    left = xp.where(some, of.left, 1.0) ** exponent
    left = xp.where(some | (exponent == 0), left, 0.0)
    return Phase(1.0 - left, left)


def line(step: Array, start: Array, end: Array, steps: Array) -> Array:
    """Moves from `start` to `end` in a straight line of `steps` from step 0."""
    return between(start, end, phase(step, steps))


def after_warmup(
    step: Array, init_value: Array, peak_value: Array, warmup_steps: Array, after: Array
) -> Array:
    """Moves from `init_value` to `peak_value` for `warmup_steps`, then follows `after`."""
    warmup = line(step, init_value, peak_value, warmup_steps)
    return namespace(step).where(step < warmup_steps, warmup, after)


def through(
    step: Array,
    boundaries: Sequence[Array],
    values: Sequence[Array],
    shape: Callable[[Phase], Phase],
) -> Array:
    """Moves through values: the first at step 0, each of the others at its boundary."""
    xp = namespace(step)
    result = xp.broadcast_to(values[-1], step.shape)
    begins = (xp.zeros_like(boundaries[0]), *boundaries[:-1]) if boundaries else ()
    pieces = list(zip(begins, boundaries, itertools.pairwise(values), strict=True))
    for begin, end, (a, b) in reversed(pieces):
        moving = between(a, b, shape(phase(step, end - begin, begin)))
        result = xp.where(step < end, moving, result)
    return result
