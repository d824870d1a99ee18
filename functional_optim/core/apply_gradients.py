"""One step: the update and its addition to the parameters, in one call."""

from collections.abc import Callable
from typing import Any

from .adapter import ExtraArgsAdapter, check_pair
from .chain import ChainUpdate
from .engine.fused import FusedUpdate
from .protocol import GradientTransformation, PyTree
from .trees.apply import apply_updates

__all__ = ["apply_gradients", "step"]


def apply_gradients(
    tx: GradientTransformation, grads: PyTree, state: PyTree, params: PyTree, **extra: Any
) -> tuple[PyTree, PyTree]:
    """Makes one step: `tx.update`, and then `apply_updates`.

        updates, state = tx.update(grads, state, params, **extra)
        params = apply_updates(params, updates)

    If compiled, these two lines and this call give the same bits. But where the last link is a leaf
    rule, as in nearly all optimizers, the function of a leaf computes the new parameter together
    with the slots, and the updates are never written to memory. That is less to trace and to
    compile, and a native kernel does it in one reading of the memory. A masked link is not a part
    of this function, and neither are the links before it.

    Args:
      tx: any pair `(init, update)`, also of another library.
      grads: tree shaped like the parameters; None for a parameter without a gradient.
      state: the state that `tx.init` or the last step returned.
      params: tree of the parameters.
      extra: further arguments that the links need: `value`, `value_fn`, ...

    Returns:
      The new parameters, in their dtypes, and the next state.

    Raises:
      TypeError: `tx` is not a pair of functions.
      ValueError, TypeError: `update` or `apply_updates` raises.

    Example:
      >>> import functional_optim as fo
      >>> tx, params = fo.sgd(0.25, momentum=0.5), {"w": 1.0, "b": 2.0}
      >>> params, state = fo.apply_gradients(tx, {"w": 2.0, "b": None}, tx.init(params), params)
      >>> params
      {'b': 2.0, 'w': Array(0.5, dtype=float32)}
    """
    _, update = check_pair("apply_gradients: tx", tx)
    return step(update, grads, state, params, extra)


def step(
    update: Callable[..., Any], grads: PyTree, state: PyTree, params: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, PyTree]:
    """Makes one step with the `update` of any pair; returns new parameters and the next state."""
    # Only these can add the update within the function of a leaf.
    if isinstance(update, (ChainUpdate, FusedUpdate)):
        return update(grads, state, params, add_to_params=True, **extra)
    updates, state = ExtraArgsAdapter.to(update)(grads, state, params, extra)
    return apply_updates(params, updates), state
