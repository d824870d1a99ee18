"""Closures: losses as functions of the parameters, differentiated without compiling them."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...core.protocol import PyTree
from ..stacklevel import user_stacklevel

__all__ = ["check_closure", "differentiate", "is_closure"]


def is_closure(x: Any) -> bool:
    """Tells whether x is a function; a callable tree, such as a module, is a tree of gradients."""
    return callable(x) and jax.tree_util.all_leaves([x])


def check_closure(where: str, closure: Callable[..., Any], params: PyTree) -> None:
    """Raises TypeError where a closure does not take the parameters."""
    try:
        inspect.signature(closure).bind(params)
    except TypeError:
        raise TypeError(
            f"{where}: a closure must take the parameters and return the loss, without calling "
            "backward: closure(params) -> loss. It is differentiated here."
        ) from None
    except ValueError:  # a builtin without a signature
        pass


def differentiate(where: str, closure: Callable[..., Any], params: PyTree) -> tuple[Any, PyTree]:
    """Computes value and gradient of a closure.

    Warns where the value does not depend on the argument: then the closure reads the parameters
    from the optimizer, which trains nothing.

    Raises:
      TypeError: it does not take the parameters.
    """
    check_closure(where, closure, params)
    is_constant = False

    def loss(params: PyTree) -> Any:
        nonlocal is_constant
        value = closure(params)
        is_constant = not isinstance(value, jax.core.Tracer)
        return value

    value, grads = jax.value_and_grad(loss)(params)
    if is_constant and jax.tree.leaves(params):
        warnings.warn(
            f"{where}: the loss does not depend on the parameters that the closure is given. "
            "Compute it from the argument, closure(params) -> loss, not from optimizer.params.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    # The loss may be a parameter itself, whose buffer the step donates.
    return jnp.array(value, copy=True), grads
