"""Reusing the value and the gradient that a line search has already computed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.protocol import PyTree
from ..core.state import State
from ..core.trees.varying import cond

__all__ = ["value_and_grad_from_state"]


def value_and_grad_from_state(
    value_fn: Callable[..., ArrayLike],
) -> Callable[..., tuple[jax.Array, PyTree]]:
    """Makes a function like `jax.value_and_grad`, which reads both from a state if it can.

    A line search ends with the value and the gradient at the new parameters. If the loss does not
    change from step to step, the next step need not compute them again.

    Args:
      value_fn: `value_fn(params, *args, **kwargs)` returns a scalar.

    Returns:
      `(params, *args, state, **kwargs) -> (value, grad)`: read from the state, in which exactly
      one transformation searches, in any nesting; computed if the state has no finite value yet.

    Raises:
      ValueError: (when called) none or several of the state's transformations keep value and
        gradient.

    Example:
      >>> import functional_optim as fo
      >>> def f(x):
      ...     return jnp.sum(x**2)
      >>> tx, params = fo.lbfgs(), jnp.array([1.0, 2.0])
      >>> value_and_grad, state = fo.value_and_grad_from_state(f), tx.init(params)
      >>> for _ in range(2):
      ...     value, grad = value_and_grad(params, state=state)
      ...     updates, state = tx.update(
      ...         grad, state, params, value=value, grad=grad, value_fn=f
      ...     )
      ...     params = fo.apply_updates(params, updates)
      >>> bool(f(params) < 1e-9)
      True
    """
    compute = jax.value_and_grad(value_fn)

    def from_state(
        params: PyTree, *args: PyTree, state: PyTree, **kwargs: PyTree
    ) -> tuple[jax.Array, PyTree]:
        link = _find_search_state(state)
        shapes = jax.eval_shape(lambda: compute(params, *args, **kwargs))
        stored = jax.tree.map(
            lambda x, like: x.astype(like.dtype), (link.scalars["value"], link.grad), shapes
        )
        return cond(
            jnp.isfinite(link.scalars["value"]),
            lambda: stored,
            lambda: jax.tree.map(jnp.asarray, compute(params, *args, **kwargs)),
        )

    return from_state


def _find_search_state(state: PyTree) -> State:
    """Finds the one transformation that keeps value and gradient."""
    nodes = jax.tree.leaves(state, is_leaf=_keeps_both)
    states = [node for node in nodes if _keeps_both(node)]
    if len(states) != 1:
        raise ValueError(
            "value_and_grad_from_state: exactly one link of the state must keep the value and the "
            f"gradient, got {len(states)}. Links that keep both are scale_by_zoom_linesearch, and "
            "scale_by_backtracking_linesearch with store_grad=True."
        )
    return states[0]


def _keeps_both(node: object) -> bool:
    return (
        isinstance(node, State) and "grad" in node and "value" in node._asdict().get("scalars", ())
    )
