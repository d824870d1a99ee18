"""Line search for a step that satisfies the strong Wolfe conditions, as a transformation."""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.decorators import tree_rule
from ..core.protocol import Hyperparameter, PyTree
from ..core.rules.arguments import NonNegative, Optional_, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.rules.schedule import check_choice
from ..core.trees.arithmetic import scaled
from ..core.types import Params, Updates
from .search_report import report
from .wolfe import Line, Point, Wolfe, search

__all__ = ["scale_by_zoom_linesearch"]

Array = jax.Array


def _check(options: Mapping[str, Hyperparameter]) -> str | None:
    check_choice(
        options["initial_guess_strategy"],
        "scale_by_zoom_linesearch: initial_guess_strategy",
        ("keep", "one"),
    )
    return None


@tree_rule(
    slots=lambda p: {"grad": jnp.zeros_like(p)},
    scalars=lambda: {"learning_rate": 1.0, "value": jnp.inf},
    metrics=("num_linesearch_steps", "decrease_error", "curvature_error"),
    needs=("params", "value", "value_fn"),
    needs_trees=("grad",),
    check=_check,
)
def scale_by_zoom_linesearch(
    g: Updates,
    slots: Slots,
    p: Params,
    ctx: StepContext,
    max_linesearch_steps: Annotated[Hyperparameter, Within("[1, inf)")],
    max_learning_rate: Annotated[Hyperparameter | None, Within("(0, inf)"), Optional_] = None,
    tol: NonNegative = 0.0,
    increase_factor: Annotated[Hyperparameter, Within("(1, inf)")] = 2.0,
    slope_rtol: Annotated[Hyperparameter, Within("[0, 1)")] = 1e-4,
    curv_rtol: Annotated[Hyperparameter, Within("[0, inf]")] = 0.9,
    approx_dec_rtol: Annotated[Hyperparameter | None, Within("[0, inf)"), Optional_] = 1e-6,
    stepsize_precision: NonNegative = 1e-5,
    initial_guess_strategy: Static[str] = "keep",
    verbose: Static[bool] = False,
) -> tuple[Updates, dict[str, PyTree], dict[str, Array]]:
    """Scales the whole update so that the strong Wolfe conditions hold.

    With f the loss, x the parameters and u the update, the step is learning_rate u with

        f(x + learning_rate u) <= f(x) + slope_rtol learning_rate u.grad f(x) + tol
        |u.grad f(x + learning_rate u)| <= curv_rtol |u.grad f(x)| + tol

    Close to a minimum, where rounding hides the decrease, the first may be replaced by

        u.grad f(x + learning_rate u) <= (2 slope_rtol - 1) u.grad f(x) + tol
        f(x + learning_rate u) <= f(x) + approx_dec_rtol |f(x)| + tol

    learning_rate `()` is multiplied by increase_factor until a minimum is bracketed, and the
    bracket narrowed by interpolation. After `max_linesearch_steps` evaluations, or in a bracket
    narrower than `stepsize_precision`, the lowest point found is taken.

    `update` needs `value=` f(x), `grad=` the result of `jax.grad` there, and `value_fn=` f; extra
    arguments that value_fn takes by name are passed to it. The state has `scalars` learning_rate
    and value, and the gradient at the end, for `value_and_grad_from_state`; and `metrics`
    num_linesearch_steps, decrease_error and curvature_error, the amounts by which the conditions
    are violated. Jit the step: otherwise each search is compiled again.

    Differences from optax: interpolation is by the cubic with values and slopes of both ends.
    If no step decreases the loss, or u is not a direction of descent, learning_rate is 0, the
    parameters do not change, and the next search starts from 1; optax then takes the last step
    tried if it is finite.

    Args:
      max_linesearch_steps: the largest number of evaluations in one search.
      max_learning_rate: the largest step length; None for no bound.
      tol: amount by which conditions may be violated, in units of the loss.
      increase_factor: factor of a step that does not yet bracket a minimum, above 1.
      slope_rtol: share of the decrease along the slope that a step must reach, in [0, 1).
      curv_rtol: the largest slope at the end, as a share of the slope at the start.
      approx_dec_rtol: relative rise of the loss that the second pair accepts; None for the first
        pair of conditions only.
      stepsize_precision: the least width of a bracket in which the search continues.
      initial_guess_strategy: "one", or "keep" to begin with the last learning rate.
      verbose: whether to print if no decrease is found.

    Example:
      >>> import functional_optim as fo
      >>> def f(x):
      ...     return jnp.sum(x**2)
      >>> tx = fo.chain(fo.sgd(1.0), fo.scale_by_zoom_linesearch(15))
      >>> params = jnp.array([1.0, 2.0])
      >>> value, grad = jax.value_and_grad(f)(params)
      >>> updates, state = tx.update(
      ...     grad, tx.init(params), params, value=value, grad=grad, value_fn=f
      ... )
      >>> float(f(fo.apply_updates(params, updates)))
      0.0

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithms 3.5 and 3.6;
    Hager & Zhang, Algorithm 851: CG_DESCENT, ACM TOMS 2006, equations 22 to 27.
    """
    del slots
    line = Line(ctx.value_fn.value_and_grad, p, g)
    start = line.point(jnp.zeros_like(ctx.value), ctx.value, ctx.grad)
    conditions = Wolfe(start, slope_rtol, curv_rtol, tol, approx_dec_rtol)
    guess = jnp.ones_like(ctx.value)
    if initial_guess_strategy == "keep":
        guess = jnp.where(ctx.learning_rate > 0, ctx.learning_rate, guess)
    if max_learning_rate is not None:
        guess = jnp.minimum(guess, max_learning_rate)

    def extend(last: Point, present: Point) -> Array:
        del last
        larger = increase_factor * present.step
        return larger if max_learning_rate is None else jnp.minimum(larger, max_learning_rate)

    def is_narrow(a: Point, b: Point) -> Array:
        # Where the first step overflows, any length may be too long next to the start.
        moved = jnp.minimum(a.step, b.step) > 0
        return moved & (jnp.abs(b.step - a.step) < stepsize_precision)

    max_evals = max_linesearch_steps.astype(jnp.int32)
    lowest, evals = search(line, conditions, guess, extend, is_narrow, max_evals, start.slope < 0)
    if verbose:
        report("scale_by_zoom_linesearch", lowest.step > 0, ctx.value, start.slope)
    scalars = {
        "learning_rate": lowest.step,
        "value": lowest.value,
        "num_linesearch_steps": evals,
        "decrease_error": conditions.excess(lowest),
        "curvature_error": conditions.steepness(lowest),
    }
    return scaled(lowest.step, g), {"grad": lowest.grad}, scalars
