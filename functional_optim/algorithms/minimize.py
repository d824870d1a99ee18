"""Minimizes a function until convergence, in one compiled program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.engine.leaf_table import LeafTable
from ..core.engine.whole_tree import Objective
from ..core.functions import as_function
from ..core.leaf.dtypes import check_parameter
from ..core.numerics.precision import cast, compute_dtype
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.structure import leaf_paths
from .lbfgs_memory import Memory
from .quasi_newton import Limits, Status, iterate

__all__ = ["minimize"]

Array = jax.Array

_NOT_NEGATIVE = Interval("[0, inf)")

_ALONG_A_LINE = 25
"""Largest number of evaluations in one line search, as in torch; then it takes the lowest point."""

_APPROXIMATE = 1e-6
"""Relative increase of the value that may be a rounding error; Hager & Zhang's epsilon."""


def minimize(
    fn: Callable[..., Array | tuple[Array, PyTree]],
    x0: PyTree,
    *args: PyTree,
    has_aux: bool = False,
    max_iter: int = 1000,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-5,
    tolerance_change: float = 0.0,
    history_size: int = 10,
) -> State:
    """Minimizes a function by L-BFGS with a line search for the strong Wolfe conditions.

    The whole search is one jitted loop, compiled once for each function object, has_aux,
    history_size and shapes of arguments; the other numbers are data. It may be called within
    jit and vmap. Values that change between calls must be arguments of `fn`.

    The search is as in `optim.LBFGS` with `line_search_fn="strong_wolfe"`; see there for the
    maths. There are three differences. Near flat minima it also accepts Hager & Zhang's approximate
    form of the conditions. The first step has length 1, and a pair is stored if s.y > eps |s| |y|,
    with eps of the precision: so a multiple of `fn` is minimized in the same steps as `fn`.
    It ends where max|grad| <= tolerance_grad, in units of the loss per unit of x.

    The result is not differentiable in reverse mode, because JAX does not support it for the loop.

    Args:
      fn: `fn(x, *args)` returns a scalar, or `(scalar, aux)` with has_aux.
      x0: tree of arrays, the start; complex arrays are minimized over both parts.
      *args: trees of arrays.
      max_iter: largest number of iterations.
      max_eval: largest number of evaluations of value and gradient; None for no limit.
      tolerance_grad: the search ends if max|grad| is at most this, in units of the loss per unit
        of x.
      tolerance_change: the search also ends if neither a parameter nor the value changes by more
        than this.
      history_size: number of stored pairs of steps and changes of the gradient.

    Returns:
      A `State` with `params`; `value` `()` and `grad` at these, as `jax.value_and_grad` returns
      them; `n_iter` and `n_evals`, the numbers of iterations and of evaluations of value and
      gradient; `converged`, whether the gradient is within its tolerance; `status`: 1 converged,
      2 no change, 3 max_iter or 4 max_eval reached, 5 no direction of descent, for example where
      the gradient at x0 is NaN. With has_aux also `aux`, from one more evaluation at the end.

    Raises:
      TypeError: a leaf of x0 is neither a floating-point nor a complex array.
      ValueError: an argument is out of its range.

    Example:
      >>> def rosenbrock(x):
      ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
      >>> result = minimize(rosenbrock, jnp.array([-1.2, 1.0]), tolerance_grad=1e-3)
      >>> result.params.round(4).tolist(), bool(result.converged)
      ([1.0, 1.0], True)

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 7.5; Hager &
    Zhang, Algorithm 851: CG_DESCENT, ACM TOMS 2006.
    """
    for path, leaf in zip(leaf_paths(x0), jax.tree.leaves(x0), strict=True):
        check_parameter("minimize", path, leaf)
    if isinstance(history_size, bool) or not isinstance(history_size, int) or history_size < 1:
        raise ValueError(f"minimize: history_size must be an integer from 1, got {history_size!r}.")
    evaluations = max_iter * _ALONG_A_LINE + 1 if max_eval is None else max_eval
    limits = Limits(
        _count(max_iter, "max_iter"),
        _count(evaluations, "max_eval"),
        jnp.int32(_ALONG_A_LINE),
        _tolerance(tolerance_grad, "tolerance_grad"),
        _tolerance(tolerance_change, "tolerance_change"),
    )
    return _minimize(
        as_function(fn), has_aux, history_size, jax.tree.map(jnp.asarray, x0), args, limits
    )


def _count(value: int, name: str) -> Array:
    number = as_number(value, f"minimize: {name}", _NOT_NEGATIVE)
    return jnp.minimum(jnp.asarray(number), np.iinfo(np.int32).max).astype(jnp.int32)


def _tolerance(value: float, name: str) -> Array:
    return as_state(as_number(value, f"minimize: {name}", _NOT_NEGATIVE))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _minimize(
    fn: Callable[..., Any],
    has_aux: bool,
    history_size: int,
    x0: PyTree,
    args: tuple[PyTree, ...],
    limits: Limits,
) -> State:
    def value_fn(x: PyTree) -> Array:
        result = fn(x, *args)
        value: Array = result[0] if has_aux else result
        return value

    leaves = LeafTable("minimize", x0, (), x0)
    objective = Objective(value_fn, leaves, {})
    xs = [cast(leaves.params[i], compute_dtype(leaves.dtypes[i])) for i in leaves.active]
    value, grads = objective.value_and_grad(xs)
    end = iterate(
        objective.value_and_grad,
        xs,
        value,
        grads,
        Memory.start(xs, history_size),
        as_state(1.0),
        limits,
        by_wolfe=True,
        approximate=as_state(_APPROXIMATE),
        relative=True,
    )
    params = objective.whole(end.x, leaves.params)
    result = State(
        params=params,
        value=end.value.astype(jax.eval_shape(value_fn, x0).dtype),
        grad=objective.whole(end.grad, leaves.updates),
        n_iter=end.iterations,
        n_evals=end.evaluations,
        converged=end.status == Status.GRADIENT,
        status=end.status,
    )
    return State(**result._asdict(), aux=fn(params, *args)[1]) if has_aux else result
