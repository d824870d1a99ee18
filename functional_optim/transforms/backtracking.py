"""Line search by backtracking."""

from typing import Annotated

import jax
import jax.numpy as jnp

from ..core.decorators import tree_rule
from ..core.protocol import Hyperparameter, PyTree
from ..core.rules.arguments import NonNegative, Positive, Static, Within
from ..core.rules.context import Slots, StepContext
from ..core.trees.arithmetic import add_scaled, dot, scaled
from ..core.trees.varying import while_loop
from ..core.types import Params, Updates
from .search_report import report

__all__ = ["scale_by_backtracking_linesearch"]

Array = jax.Array
Carry = tuple[Array, Array, Array, Array]
"""Learning rate, value, error of the decrease, and number of steps, of the search."""


def _slots(p: Array, store_grad: bool) -> dict[str, Array]:
    return {"grad": jnp.zeros_like(p)} if store_grad else {}


@tree_rule(
    slots=_slots,
    scalars=lambda: {"learning_rate": 1.0, "tried": 1.0, "value": jnp.inf},
    metrics=("num_linesearch_steps", "decrease_error"),
    needs=("params", "value", "value_fn"),
    needs_trees=("grad",),
)
def scale_by_backtracking_linesearch(
    g: Updates,
    slots: Slots,
    p: Params,
    ctx: StepContext,
    max_backtracking_steps: NonNegative,
    slope_rtol: Annotated[Hyperparameter, Within("[0, 1)")] = 1e-4,
    decrease_factor: Annotated[Hyperparameter, Within("(0, 1)")] = 0.8,
    increase_factor: Annotated[Hyperparameter, Within("[1, inf]")] = 1.5,
    max_learning_rate: Positive = 1.0,
    atol: NonNegative = 0.0,
    rtol: NonNegative = 0.0,
    store_grad: Static[bool] = False,
    verbose: Static[bool] = False,
) -> tuple[Updates, dict[str, PyTree], dict[str, Array]]:
    """Scales the whole update so that the loss decreases enough (Armijo's condition).

    With f the loss, x the parameters and u the update, the step is learning_rate u with

        f(x + learning_rate u) <= f(x) + slope_rtol learning_rate u.grad + rtol |f(x)| + atol

    learning_rate `()` starts at increase_factor times the last one tried, at most
    max_learning_rate, and is multiplied by decrease_factor until this condition is satisfied, at
    most `max_backtracking_steps` times. A value that is NaN or infinite does not satisfy it.

    `update` needs `value=` f(x), `grad=` the result of `jax.grad` there, and `value_fn=` f; extra
    arguments that value_fn takes by name are passed to it. The state has `scalars` learning_rate,
    tried (the last one tried) and value, and `metrics` num_linesearch_steps and decrease_error, the
    amount by which the condition is violated. Jit the step: otherwise each search is compiled
    again.

    Differences from optax: if the last step tried does not decrease the loss at all, or u is not a
    direction of descent, learning_rate is 0, the parameters do not change, and the next search
    continues from the last step tried; optax takes such a step if it is finite, and otherwise its
    learning rate stays 0 from then on. rtol is relative to |f(x)|; optax's makes the condition
    stricter if f(x) < 0.

    Args:
      max_backtracking_steps: the largest number of reductions in one search.
      slope_rtol: share of the decrease along the slope that a step must reach, in [0, 1).
      decrease_factor: factor of a step that does not satisfy the condition, in (0, 1).
      increase_factor: factor of the last step, with which a search begins; at least 1.
      max_learning_rate: the largest step length.
      atol: a rise of the loss that is accepted, in units of the loss.
      rtol: a rise of the loss that is accepted, as a share of |f(x)|.
      store_grad: whether to keep the gradient at the end, for `value_and_grad_from_state`, at the
        cost of one more evaluation.
      verbose: whether to print if no decrease is found.

    Example:
      >>> import functional_optim as fo
      >>> def f(x):
      ...     return jnp.sum(x**2)
      >>> tx = fo.chain(fo.sgd(1.0), fo.scale_by_backtracking_linesearch(15))
      >>> params = jnp.array([1.0, 2.0])
      >>> value, grad = jax.value_and_grad(f)(params)
      >>> updates, state = tx.update(
      ...     grad, tx.init(params), params, value=value, grad=grad, value_fn=f
      ... )
      >>> bool(f(fo.apply_updates(params, updates)) < f(params))
      True

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 3.1; Vaswani
    et al., Painless stochastic gradient, NeurIPS 2019, arXiv:1905.09997.
    """
    # `jax.grad` returns the conjugate of the gradient of a complex parameter.
    slope = dot(jax.tree.map(jnp.conj, ctx.grad), g)
    allowed = ctx.value + rtol * jnp.abs(ctx.value) + atol

    def violation(rate: Array, value: Array) -> Array:
        error = value - (allowed + slope_rtol * rate * slope)
        # A loss that is NaN fails the condition by any measure, and the search continues.
        return jnp.where(jnp.isnan(error), jnp.inf, jnp.maximum(error, 0))

    def attempt(carry: Carry) -> Carry:
        rate, _, _, steps = carry
        rate = jnp.where(steps > 0, decrease_factor * rate, rate)
        value = ctx.value_fn(add_scaled(p, rate, g))
        return rate, value, violation(rate, value), steps + 1

    def unfinished(carry: Carry) -> Array:
        return ~(carry[2] <= 0) & (carry[3] <= max_backtracking_steps) & (slope < 0)

    guess = jnp.minimum(increase_factor * ctx.tried, max_learning_rate)
    infinite, zero = jnp.full_like(slope, jnp.inf), jnp.zeros_like(slope)
    # An infinite error, so that at least one step is tried.
    start = (guess, infinite, infinite, zero)
    last, value, error, steps = while_loop(unfinished, attempt, start)
    decreased = (value < ctx.value) | (error <= 0)
    rate = jnp.where(decreased, last, 0)
    if verbose:
        report("scale_by_backtracking_linesearch", decreased, ctx.value, slope)
    new_slots = {}
    if store_grad:
        value, new_slots["grad"] = ctx.value_fn.value_and_grad(add_scaled(p, rate, g))
    scalars = {
        "learning_rate": rate,
        "tried": last,
        "value": jnp.where(decreased, value, ctx.value),
        "num_linesearch_steps": steps,
        "decrease_error": jnp.where(steps > 0, error, 0),
    }
    return scaled(rate, g), new_slots, scalars
