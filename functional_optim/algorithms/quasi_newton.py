"""The iteration of L-BFGS: directions out of pairs, a step along each, until one of the ends."""

import dataclasses
import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.arithmetic import add_scaled, choose, dot, largest, scaled, sum_of_magnitudes
from ..core.trees.varying import cond, while_loop
from ..transforms.wolfe import Found, Line, Point, Wolfe, cubic_step, search
from .curvature import is_curved
from .lbfgs_memory import Memory

__all__ = ["Limits", "Progress", "Status", "iterate"]

Array = jax.Array

_DECREASE, _CURVATURE = 1e-4, 0.9
"""Of the strong Wolfe conditions; Nocedal & Wright, section 3.1, and torch's."""

_LEAST_CURVATURE = 1e-10
"""Below this s.y a pair is not kept, unless it is judged by its own scale; torch's."""


class Status(enum.IntEnum):
    """Why a search ended."""

    GOING_ON = 0
    GRADIENT = 1
    CHANGE = 2
    ITERATIONS = 3
    EVALUATIONS = 4
    NO_DESCENT = 5


class Limits(NamedTuple):
    """What ends a search, each `()`.

    Attributes:
      iterations: of the search.
      evaluations: of the objective, with the one at the start; int32 as iterations.
      along_a_line: the same, of one line; int32.
      gradient: largest magnitude of a component of the gradient that counts as zero.
      change: largest change of a parameter, or of the value, that counts as none.
    """

    iterations: Array
    evaluations: Array
    along_a_line: Array
    gradient: Array
    change: Array


class Progress(NamedTuple):
    """A search under way; `grad` is what `jax.grad` gives."""

    x: PyTree
    value: Array
    grad: PyTree
    memory: Memory
    iterations: Array
    evaluations: Array
    status: Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Iteration:
    """One iteration, of given rules."""

    evaluate: Callable[[PyTree], tuple[Array, PyTree]]
    rate: Array
    limits: Limits
    by_wolfe: bool
    approximate: Array | None
    relative: bool

    def __call__(self, now: Progress) -> Progress:
        g = jax.tree.map(jnp.conj, now.grad)
        k, first = now.iterations + 1, now.memory.iterations == 0
        memory = _directed(now.memory, g, self.relative)._replace(
            grad=g, value=now.value, iterations=now.memory.iterations + 1
        )
        # The first direction is the gradient, whose length says nothing of the step's.
        size = sum_of_magnitudes(g)
        cautious = 1 / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
        if not self.relative:
            cautious = jnp.minimum(1, cautious)
        step = jnp.where(first, cautious, 1) * self.rate
        line = Line(self.evaluate, now.x, memory.direction)
        start = line.point(jnp.zeros_like(step), now.value, now.grad)
        # Not `>`: where the slope is NaN, there is nowhere to go.
        descends = start.slope <= -self.limits.change
        found = self._move(line, start, step, descends, now, k)
        taken = jnp.where(descends, found.point.step, step)
        memory = memory._replace(step=taken, evaluations=memory.evaluations + found.evals)
        x = choose(descends, add_scaled(now.x, taken, memory.direction), now.x)
        after = Progress(
            x,
            jnp.where((found.evals > 0) & (taken > 0), found.point.value, now.value),
            found.point.grad,
            memory,
            k,
            now.evaluations + found.evals,
            now.status,
        )
        status = self._status(after, now.value)
        return after._replace(status=jnp.where(descends, status, jnp.int32(Status.NO_DESCENT)))

    def _move(
        self, line: Line, start: Point, step: Array, descends: Array, now: Progress, k: Array
    ) -> Found:
        """The point to go to."""
        if self.by_wolfe:
            dtype = step.dtype
            tolerance = jnp.zeros((), dtype)
            decrease, curvature = jnp.array(_DECREASE, dtype), jnp.array(_CURVATURE, dtype)
            conditions = Wolfe(start, decrease, curvature, tolerance, self.approximate)
            narrowest = self.limits.change / largest(line.d)
            left = self.limits.evaluations - now.evaluations + 1
            left = jnp.minimum(left, self.limits.along_a_line)

            def is_narrow(a: Point, b: Point) -> Array:
                return jnp.abs(b.step - a.step) < narrowest

            return search(line, conditions, step, _extend, is_narrow, left, descends)

        # After the last iteration nobody asks for the value, which may cost as much as a step.
        evaluated = descends & (k < self.limits.iterations)
        unknown = start._replace(step=step)
        point = cond(evaluated, lambda: line.at(step), lambda: unknown)
        return Found(point, evaluated.astype(jnp.int32))

    def _status(self, after: Progress, before: Array) -> Array:
        """Tells whether to end after an iteration, and why."""
        moved = largest(scaled(after.memory.step, after.memory.direction))
        still = (moved <= self.limits.change) | (jnp.abs(after.value - before) < self.limits.change)
        return _first(
            (largest(after.grad) <= self.limits.gradient, Status.GRADIENT),
            (after.iterations >= self.limits.iterations, Status.ITERATIONS),
            (after.evaluations >= self.limits.evaluations, Status.EVALUATIONS),
            (still, Status.CHANGE),
        )


def iterate(
    evaluate: Callable[[PyTree], tuple[Array, PyTree]],
    x: PyTree,
    value: Array,
    grad: PyTree,
    memory: Memory,
    rate: Array,
    limits: Limits,
    *,
    by_wolfe: bool,
    approximate: Array | None = None,
    relative: bool = False,
) -> Progress:
    """Minimizes from x until a limit is reached.

    Args:
      evaluate: value and gradient, as `jax.value_and_grad` gives them.
      x: where to start.
      value: of the objective there.
      grad: as evaluate gives it there.
      memory: of the searches before.
      rate: the step to try first, or without line search, to take.
      limits: what ends the search.
      by_wolfe: whether steps satisfy the strong Wolfe conditions, or are of length `rate`.
      approximate: of these conditions, see `Wolfe`.
      relative: whether the first step and the least curvature are in relation to the gradient, so
        that a loss and its multiples are minimized in the same steps; otherwise they are torch's.
    """
    at_rest = largest(grad) <= limits.gradient
    status = _first((at_rest, Status.GRADIENT), (limits.iterations < 1, Status.ITERATIONS))
    memory = memory._replace(evaluations=memory.evaluations + 1)
    one = jnp.ones((), jnp.int32)
    begun = Progress(x, value, grad, memory, one - 1, one, status)
    iteration = _Iteration(evaluate, rate, limits, by_wolfe, approximate, relative)
    return while_loop(lambda now: now.status == Status.GOING_ON, iteration, begun)


def _directed(memory: Memory, g: PyTree, relative: bool) -> Memory:
    """Adds the pair of the last step to the memory, and computes the direction at gradient g."""
    s = scaled(memory.step, memory.direction)
    y = jax.tree.map(jnp.subtract, g, memory.grad)
    sy = dot(s, y)
    accepted = is_curved(s, y, sy) if relative else sy > _LEAST_CURVATURE
    curvature = memory.curvature.push(s, y, sy, accepted)
    scale = jnp.where(accepted, sy / jnp.where(accepted, dot(y, y), 1), memory.scale)
    direction, taken = curvature.apply(g, scale, curvature.size)
    return memory._replace(
        curvature=curvature,
        scale=scale,
        direction=jax.tree.map(jnp.negative, direction),
        taken=taken,
    )


def _extend(last: Point, present: Point) -> Array:
    """Computes the next larger step where no minimum is bracketed; at most tenfold."""
    least = present.step + 0.01 * (present.step - last.step)
    return cubic_step(last, present, least, 10 * present.step)


def _first(*cases: tuple[Array, Status]) -> Array:
    """Returns the first status whose condition holds."""
    status = jnp.int32(Status.GOING_ON)
    for condition, name in reversed(cases):
        status = jnp.where(condition, jnp.int32(name), status)
    return status
