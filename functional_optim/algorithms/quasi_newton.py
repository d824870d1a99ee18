"""The iteration of L-BFGS: a direction, a step along it, and tests for the end."""

import dataclasses
import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree
from ..core.trees.arithmetic import add_scaled, choose, dot, largest, scaled, sum_of_magnitudes
from ..core.trees.varying import cond, while_loop
from ..transforms.wolfe import Line, Point, SearchResult, Wolfe, cubic_step, search
from .curvature import is_curved
from .lbfgs_memory import Memory

__all__ = ["Limits", "Progress", "Status", "iterate"]

Array = jax.Array

_DECREASE, _CURVATURE = 1e-4, 0.9
"""Constants of the strong Wolfe conditions, as in Nocedal & Wright, section 3.1, and in torch."""

_LEAST_CURVATURE = 1e-10
"""Least s.y of a stored pair where the test is not relative, as in torch."""


class Status(enum.IntEnum):
    """Why a search ended."""

    RUNNING = 0
    GRADIENT = 1
    CHANGE = 2
    ITERATIONS = 3
    EVALUATIONS = 4
    NO_DESCENT = 5


class Limits(NamedTuple):
    """Limits of a search, each `()`.

    Attributes:
      iterations: largest number of iterations, int32.
      evaluations: largest number of evaluations, including the one at the start, int32.
      along_a_line: largest number of evaluations in one line search, int32.
      gradient: the search ends where no component of the gradient has a larger magnitude.
      change: the search ends where no parameter, or the value, changes by more.
    """

    iterations: Array
    evaluations: Array
    along_a_line: Array
    gradient: Array
    change: Array


class Progress(NamedTuple):
    """The state of a search; `grad` is the result of `jax.grad`, without conjugation."""

    x: PyTree
    value: Array
    grad: PyTree
    memory: Memory
    iterations: Array
    evaluations: Array
    status: Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Iteration:
    """One iteration of the search."""

    evaluate: Callable[[PyTree], tuple[Array, PyTree]]
    rate: Array
    limits: Limits
    by_wolfe: bool
    approximate: Array | None
    relative: bool

    def __call__(self, progress: Progress) -> Progress:
        g = jax.tree.map(jnp.conj, progress.grad)
        k, first = progress.iterations + 1, progress.memory.iterations == 0
        memory = _with_new_pair(progress.memory, g, self.relative)._replace(
            grad=g, value=progress.value, iterations=progress.memory.iterations + 1
        )
        # The first direction is the gradient, whose length is not related to the best step.
        size = sum_of_magnitudes(g)
        first_step = 1 / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
        if not self.relative:
            first_step = jnp.minimum(1, first_step)
        step = jnp.where(first, first_step, 1) * self.rate
        line = Line(self.evaluate, progress.x, memory.direction)
        start = line.point(jnp.zeros_like(step), progress.value, progress.grad)
        # `<=` is False where the slope is NaN, and then the search ends.
        descends = start.slope <= -self.limits.change
        result = self._move(line, start, step, descends, progress, k)
        taken = jnp.where(descends, result.point.step, step)
        memory = memory._replace(step=taken, evaluations=memory.evaluations + result.evals)
        x = choose(descends, add_scaled(progress.x, taken, memory.direction), progress.x)
        after = Progress(
            x,
            jnp.where((result.evals > 0) & (taken > 0), result.point.value, progress.value),
            result.point.grad,
            memory,
            k,
            progress.evaluations + result.evals,
            progress.status,
        )
        status = self._status(after, progress.value)
        return after._replace(status=jnp.where(descends, status, jnp.int32(Status.NO_DESCENT)))

    def _move(
        self, line: Line, start: Point, step: Array, descends: Array, progress: Progress, k: Array
    ) -> SearchResult:
        """Returns the next point: by a line search, or at a step of fixed length."""
        if self.by_wolfe:
            dtype = step.dtype
            tolerance = jnp.zeros((), dtype)
            decrease, curvature = jnp.array(_DECREASE, dtype), jnp.array(_CURVATURE, dtype)
            conditions = Wolfe(start, decrease, curvature, tolerance, self.approximate)
            narrowest = self.limits.change / largest(line.d)
            remaining = self.limits.evaluations - progress.evaluations + 1
            max_evals = jnp.minimum(remaining, self.limits.along_a_line)

            def is_narrow(a: Point, b: Point) -> Array:
                return jnp.abs(b.step - a.step) < narrowest

            return search(line, conditions, step, _extend, is_narrow, max_evals, descends)

        # The value after the last iteration is not used, and may cost as much as a step.
        evaluated = descends & (k < self.limits.iterations)
        not_evaluated = start._replace(step=step)
        point = cond(evaluated, lambda: line.at(step), lambda: not_evaluated)
        return SearchResult(point, evaluated.astype(jnp.int32))

    def _status(self, after: Progress, before: Array) -> Array:
        """Returns the status after an iteration: to continue, or the reason to end."""
        moved = largest(scaled(after.memory.step, after.memory.direction))
        is_unchanged = (moved <= self.limits.change) | (
            jnp.abs(after.value - before) < self.limits.change
        )
        return _first(
            (largest(after.grad) <= self.limits.gradient, Status.GRADIENT),
            (after.iterations >= self.limits.iterations, Status.ITERATIONS),
            (after.evaluations >= self.limits.evaluations, Status.EVALUATIONS),
            (is_unchanged, Status.CHANGE),
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
      evaluate: returns value and gradient, as `jax.value_and_grad` does.
      x: the start.
      value: the objective at x.
      grad: the gradient at x, as evaluate returns it.
      memory: the memory of previous searches.
      rate: the first step length of a line search, or the step length without line search.
      limits: the limits of the search.
      by_wolfe: whether steps satisfy the strong Wolfe conditions, or have length `rate`.
      approximate: tolerance of the approximate conditions; see `Wolfe`.
      relative: whether the first step and the least curvature are relative to the gradient, so
        that a loss and its multiples are minimized in the same steps; otherwise they are as in
        torch.
    """
    is_stationary = largest(grad) <= limits.gradient
    status = _first((is_stationary, Status.GRADIENT), (limits.iterations < 1, Status.ITERATIONS))
    memory = memory._replace(evaluations=memory.evaluations + 1)
    one = jnp.ones((), jnp.int32)
    start = Progress(x, value, grad, memory, one - 1, one, status)
    iteration = _Iteration(evaluate, rate, limits, by_wolfe, approximate, relative)
    return while_loop(lambda progress: progress.status == Status.RUNNING, iteration, start)


def _with_new_pair(memory: Memory, g: PyTree, relative: bool) -> Memory:
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
    """Computes the next larger step where no minimum is bracketed; at most 10 times as large."""
    least = present.step + 0.01 * (present.step - last.step)
    return cubic_step(last, present, least, 10 * present.step)


def _first(*cases: tuple[Array, Status]) -> Array:
    """Returns the first status whose condition is true."""
    status = jnp.int32(Status.RUNNING)
    for condition, name in reversed(cases):
        status = jnp.where(condition, jnp.int32(name), status)
    return status
