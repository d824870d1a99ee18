"""Closures: losses as functions of the parameters, differentiated as they are."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..core.protocol import PyTree

__all__ = ["check_closure", "differentiate", "is_closure"]


def is_closure(x: Any) -> bool:
    """Whether x is a function, and no tree of gradients: a module can be called as well."""
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
    """Value and gradient of a closure.

    Raises:
      TypeError: it does not take the parameters.
    """
    check_closure(where, closure, params)
    value, grads = jax.value_and_grad(closure)(params)
    # A loss may be a parameter itself, whose buffer the step gives away.
    return jnp.array(value, copy=True), grads
