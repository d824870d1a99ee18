"""Line search for a step that satisfies the strong Wolfe conditions."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.numerics.validation import as_state
from ..core.protocol import PyTree
from ..core.trees.arithmetic import add_scaled, choose, dot
from ..core.trees.varying import while_loop

__all__ = ["SearchResult", "Line", "Point", "Wolfe", "cubic_step", "search"]

Array = jax.Array


class Point(NamedTuple):
    """A point x + step d of a line.

    Attributes:
      step: `()`.
      value: the objective there, `()`; infinite if it is NaN.
      slope: derivative of the objective by the step, `()`.
      grad: the result of `jax.grad` there.
    """

    step: Array
    value: Array
    slope: Array
    grad: PyTree


@dataclasses.dataclass(frozen=True)
class Line:
    """The objective along the line x + step d."""

    evaluate: Callable[[PyTree], tuple[Array, PyTree]]
    x: PyTree
    d: PyTree

    def at(self, step: Array) -> Point:
        """Evaluates the objective and its gradient."""
        value, grad = self.evaluate(add_scaled(self.x, step, self.d))
        return self.point(step, value, grad)

    def point(self, step: Array, value: Array, grad: PyTree) -> Point:
        """Makes a point whose value and gradient are known."""
        # NaN compares as neither higher nor lower; with infinity, the search turns back.
        value = jnp.where(jnp.isnan(value), jnp.inf, value)
        # The real part of sum(grad d): jax.grad gives conjugates.
        return Point(step, value, dot(jax.tree.map(jnp.conj, grad), self.d), grad)


@dataclasses.dataclass(frozen=True)
class Wolfe:
    """The strong Wolfe conditions.

        f(t) <= f(0) + decrease t f'(0) + tolerance      sufficient decrease
        |f'(t)| <= curvature |f'(0)| + tolerance         a flat slope

    With `approximate`, the slope decides where rounding hides whether f decreases. The first
    condition may then be replaced by

        f'(t) <= (2 decrease - 1) f'(0) + tolerance
        f(t) <= f(0) + approximate |f(0)| + tolerance
    """

    start: Point
    decrease: Array
    curvature: Array
    tolerance: Array
    approximate: Array | None = None

    def excess(self, p: Point) -> Array:
        """Returns by how much sufficient decrease is missed; infinite if the value is infinite."""
        start = self.start
        missed = p.value - (start.value + self.decrease * p.step * start.slope)
        if self.approximate is not None:
            by_slope = p.slope - (2 * self.decrease - 1) * start.slope
            by_value = p.value - (start.value + self.approximate * jnp.abs(start.value))
            missed = jnp.minimum(missed, jnp.maximum(by_slope, by_value))
        return jnp.where(jnp.isnan(missed), jnp.inf, jnp.maximum(missed, 0))

    def steepness(self, p: Point) -> Array:
        """Returns by how much the slope is too steep; infinite if it is NaN."""
        missed = jnp.abs(p.slope) - self.curvature * jnp.abs(self.start.slope)
        return jnp.where(jnp.isnan(missed), jnp.inf, jnp.maximum(missed, 0))

    def decreases(self, p: Point) -> Array:
        """Tells whether the decrease suffices."""
        return self.excess(p) <= self.tolerance

    def is_flat(self, p: Point) -> Array:
        """Tells whether the slope is flat."""
        return self.steepness(p) <= self.tolerance


class SearchResult(NamedTuple):
    """The result of a search: the lowest point of the bracket, and evaluations `()`, int32."""

    point: Point
    evals: Array


class _Search(NamedTuple):
    """The state of a search.

    `a` and `b` are the last two points until a minimum is bracketed, and then the ends of
    the bracket.
    """

    a: Point
    b: Point
    a_is_lower: Array
    bracketed: Array
    near_an_end: Array  # whether the last step chosen was close to an end of the bracket
    step: Array  # the next to evaluate
    evals: Array
    ended: Array


def search(
    line: Line,
    conditions: Wolfe,
    first: Array,
    extend: Callable[[Point, Point], Array],
    is_narrow: Callable[[Point, Point], Array],
    max_evals: Array,
    is_needed: ArrayLike = True,
) -> SearchResult:
    """Brackets a minimum along a line, then narrows the bracket until the conditions hold.

    Args:
      line: the line.
      conditions: the conditions, which have the start of the line.
      first: the first step, `()`.
      extend: `(last, present) -> step`, the next larger step while there is no bracket; if it is
        not larger, the search ends at the present step.
      is_narrow: whether the search ends in a bracket between these two points, `()`.
      max_evals: number of evaluations `()` after which it ends; at least one is made.
      is_needed: whether to search at all; otherwise the result is the start.

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithms 3.5 and 3.6;
    the interpolation and its safeguards as in Schmidt's minFunc and torch.
    """
    start = conditions.start
    true, false = jnp.array(True), jnp.array(False)
    zero = jnp.zeros((), jnp.int32)
    start_state = _Search(start, start, true, false, false, first, zero, jnp.logical_not(is_needed))

    def body(s: _Search) -> _Search:
        new = line.at(s.step)
        evals = s.evals + 1
        last = evals >= max_evals
        bracket, done = _bracket(conditions, s, new, evals, last)
        narrowed, satisfied = _narrow(conditions, s, new)
        following = choose(s.bracketed, narrowed, bracket)
        ended = jnp.where(s.bracketed, satisfied, done) | last
        step, near = _next_step(following, extend)
        # Without a bracket, a step that cannot grow is the last one.
        stuck = ~following.bracketed & ~(step > following.b.step)
        small = following.bracketed & is_narrow(following.a, following.b)
        return following._replace(
            near_an_end=near, step=step, evals=evals, ended=ended | stuck | small
        )

    s = while_loop(lambda s: ~s.ended, body, start_state)
    return SearchResult(choose(s.a_is_lower, s.a, s.b), s.evals)


def _bracket(
    conditions: Wolfe, s: _Search, new: Point, evals: Array, last: Array
) -> tuple[_Search, Array]:
    """Moves on to the new point, and checks whether a minimum lies before it."""
    rose = ~conditions.decreases(new) | ((evals > 2) & (new.value >= s.b.value))
    good = ~rose & conditions.is_flat(new)
    bracketed = (rose | (new.slope >= 0)) & ~good
    # At the last evaluation the result is the start or the new point, whichever is lower.
    a = choose(last, conditions.start, s.b)
    a_is_lower = (last | bracketed) & (a.value <= new.value)
    return s._replace(a=a, b=new, a_is_lower=a_is_lower, bracketed=bracketed), good


def _narrow(conditions: Wolfe, s: _Search, new: Point) -> tuple[_Search, Array]:
    """Puts the new point in the place of an end of the bracket."""
    low, high = choose(s.a_is_lower, (s.a, s.b), (s.b, s.a))
    worse = ~conditions.decreases(new) | (new.value >= low.value)
    good = ~worse & conditions.is_flat(new)
    crossed = ~good & (new.slope * (high.step - low.step) >= 0)
    high = choose(worse, new, choose(crossed, low, high))
    low = choose(worse, low, new)
    a, b = choose(s.a_is_lower, (low, high), (high, low))
    # A point of insufficient decrease may still be the lowest.
    a_is_lower = jnp.where(worse, a.value <= b.value, s.a_is_lower)
    return s._replace(a=a, b=b, a_is_lower=a_is_lower), good


def _next_step(s: _Search, extend: Callable[[Point, Point], Array]) -> tuple[Array, Array]:
    """Returns the next step, and whether it was chosen close to an end of the bracket."""
    left, right = jnp.minimum(s.a.step, s.b.step), jnp.maximum(s.a.step, s.b.step)
    t = cubic_step(s.a, s.b, left, right)
    # Interpolation may choose a step close to an end once, but not twice in a row.
    margin = 0.1 * (right - left)
    near = jnp.minimum(right - t, t - left) < margin
    forced = near & (s.near_an_end | (t >= right) | (t <= left))
    inward = jnp.where(jnp.abs(t - right) < jnp.abs(t - left), right - margin, left + margin)
    t = jnp.where(forced, inward, t)
    return jnp.where(s.bracketed, t, extend(s.a, s.b)), s.bracketed & near & ~forced


def cubic_step(p: Point, q: Point, low: Array, high: Array) -> Array:
    """Finds the minimum, clipped to [low, high], of the cubic with two points' values and slopes.

    Returns the middle if the cubic has no minimum.
    """
    left, right = choose(p.step <= q.step, (p, q), (q, p))
    length = right.step - left.step
    d1 = left.slope + right.slope - 3 * (left.value - right.value) / (left.step - right.step)
    square = d1 * d1 - left.slope * right.slope
    d2 = jnp.sqrt(jnp.where(square >= 0, square, 0))
    minimum = right.step - length * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    is_valid = (square >= 0) & jnp.isfinite(minimum)
    return as_state(jnp.where(is_valid, jnp.clip(minimum, low, high), (low + high) / 2))
