"""Minimizing a function to the end, in one program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.engine.leaf_table import LeafTable
from ..core.engine.objective import Objective
from ..core.functions import as_function
from ..core.leaf.dtypes import check_parameter
from ..core.numerics.casting import cast
from ..core.numerics.precision import compute_dtype
from ..core.numerics.validation import Interval, as_number, as_state
from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.structure import leaf_paths
from .lbfgs_memory import Memory
from .quasi_newton import Limits, Status, iterate

__all__ = ["minimize"]

_NOT_NEGATIVE = Interval("[0, inf)")

_ALONG_A_LINE = 25
"""Evaluations along one line, after which the lowest point is taken; torch's."""

_APPROXIMATE = 1e-6
"""Relative rise of the value that rounding may explain; Hager & Zhang's epsilon."""


def minimize(
    fn: Callable[..., Any],
    x0: PyTree,
    *args: Any,
    has_aux: bool = False,
    max_iter: int = 1000,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-5,
    tolerance_change: float = 0.0,
    history_size: int = 10,
) -> State:
    """Minimizes a function by L-BFGS with a line search for the strong Wolfe conditions.

    The whole search is one jitted loop, compiled once for each function object, has_aux,
    history_size and shape of arguments; the other numbers are data. It may be called within
    jit and vmap. What `fn` needs that changes from call to call must be an argument.

    The search is that of `optim.LBFGS` with `line_search_fn="strong_wolfe"`, see there for the
    maths, but for three things. For flat ends it also takes Hager & Zhang's approximate form of
    the conditions. The first step has length 1, and a pair is kept if s.y > eps |s| |y|, with eps
    of the precision: so a multiple of `fn` is minimized in the same steps as `fn`.
    It ends where max|grad| <= tolerance_grad, in units of the loss per unit of x.

    Derivatives of the result are not provided: JAX refuses reverse mode through the loop.

    Args:
      fn: `fn(x, *args)` returns a scalar, or `(scalar, aux)` with has_aux.
      x0: tree of arrays, where to start; complex ones are minimized over both parts.
      *args: trees of arrays.
      max_eval: of value and gradient; None for no bound but that of max_iter.
      tolerance_change: where no parameter, or the value, changes by more, the search ends too.
      history_size: pairs of steps and changes of the gradient that are kept.

    Returns:
      A `State` with `params`; `value` `()` and `grad` there, as `jax.value_and_grad` gives
      them; the numbers `n_iter` and `n_evals`, of value and gradient together; `converged`,
      whether the gradient is within its tolerance; `status`: 1 converged, 2 no change, 3
      max_iter or 4 max_eval reached, 5 no direction of descent, as where the gradient at
      x0 is NaN. With has_aux also `aux`, of one more evaluation at the end.

    Raises:
      TypeError: a leaf of x0 is no floating-point or complex array.
      ValueError: a number is out of its range.

    Example:
      >>> def rosenbrock(x):
      ...     return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
      >>> result = minimize(rosenbrock, jnp.array([-1.2, 1.0]))
      >>> result.params.round(4).tolist(), bool(result.converged)
      ([1.0, 1.0], True)

    Reference: Nocedal & Wright, Numerical Optimization, 2nd edition, Algorithm 7.5; Hager &
    Zhang, Algorithm 851: CG_DESCENT, ACM TOMS 2006.
    """
    for path, leaf in zip(leaf_paths(x0), jax.tree.leaves(x0), strict=True):
        check_parameter("minimize", path, leaf)
    if isinstance(history_size, bool) or not isinstance(history_size, int) or history_size < 1:
        raise ValueError(f"minimize: history_size must be an integer from 1, got {history_size!r}.")
    most = max_iter * _ALONG_A_LINE + 1 if max_eval is None else max_eval
    limits = Limits(
        _count(max_iter, "max_iter"),
        _count(most, "max_eval"),
        jnp.int32(_ALONG_A_LINE),
        _tolerance(tolerance_grad, "tolerance_grad"),
        _tolerance(tolerance_change, "tolerance_change"),
    )
    return _minimize(
        as_function(fn), has_aux, history_size, jax.tree.map(jnp.asarray, x0), args, limits
    )


def _count(value: Any, name: str) -> jax.Array:
    number = as_number(value, f"minimize: {name}", _NOT_NEGATIVE)
    return jnp.minimum(jnp.asarray(number), np.iinfo(np.int32).max).astype(jnp.int32)


def _tolerance(value: Any, name: str) -> jax.Array:
    return as_state(as_number(value, f"minimize: {name}", _NOT_NEGATIVE))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _minimize(
    fn: Callable[..., Any],
    has_aux: bool,
    history_size: int,
    x0: PyTree,
    args: tuple[Any, ...],
    limits: Limits,
) -> State:
    def value_fn(x: PyTree) -> Any:
        return fn(x, *args)[0] if has_aux else fn(x, *args)

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
