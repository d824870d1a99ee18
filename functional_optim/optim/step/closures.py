"""Closures: losses as functions of the parameters, differentiated without compiling them."""

import inspect
import warnings
from collections.abc import Callable
from typing import NoReturn

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ...core.protocol import PyTree
from ..stacklevel import user_stacklevel

__all__ = [
    "check_closure",
    "check_loss",
    "differentiate",
    "is_closure",
    "refuse_loss",
    "warn_of_constant",
]


def is_closure(x: object) -> bool:
    """Tells whether x is a function; a callable tree, such as a module, is a tree of gradients."""
    return callable(x) and jax.tree_util.all_leaves([x])


def check_closure(where: str, closure: Callable[..., PyTree], params: PyTree) -> None:
    """Raises TypeError if a closure does not take the parameters."""
    try:
        inspect.signature(closure).bind(params)
    except TypeError:
        raise TypeError(
            f"{where}: a closure must take the parameters and return the loss, without calling "
            "backward: closure(params) -> loss. It is differentiated here."
        ) from None
    except ValueError:  # a builtin without a signature
        pass


def refuse_loss(where: str, loss_fn: object) -> NoReturn:
    """Raises TypeError for a loss that is not a function of the parameters."""
    kind = f"an array of shape {loss_fn.shape}" if hasattr(loss_fn, "shape") else repr(loss_fn)
    raise TypeError(
        f"{where}: loss_fn must be a function (params, *args) -> loss, got {kind}. A loss that has "
        "been computed cannot be differentiated in JAX: pass the function that computes it from "
        "the parameters, and its data as arguments."
    )


def check_loss(where: str, result: PyTree, has_aux: bool) -> None:
    """Raises TypeError if a loss function does not return a scalar, or a pair with has_aux."""
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(
            f"{where}: with has_aux=True the function must return a pair (loss, aux), got "
            f"{_kind(result)}. Return a pair, or leave has_aux out."
        )
    loss = result[0] if has_aux else result
    if not has_aux and isinstance(loss, tuple):
        advice = "For (loss, aux), pass has_aux=True to backward or minimize."
    elif loss is None:
        advice = "Return the loss; it is differentiated here, without loss.backward()."
    else:
        advice = "Return a scalar, such as the mean of the losses."
    is_number = isinstance(loss, (int, float)) and not isinstance(loss, bool)
    if not is_number and not (hasattr(loss, "dtype") and jnp.shape(loss) == ()):
        raise TypeError(f"{where}: the loss must be a scalar, got {_kind(loss)}. {advice}")


def _kind(x: PyTree) -> str:
    if hasattr(x, "dtype"):
        return f"an array of shape {jnp.shape(x)}"
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else type(x).__name__


def warn_of_constant(where: str, loss: object, params: PyTree) -> None:
    """Warns if a loss does not depend on the parameters that it is differentiated by.

    A loss that depends on them is a tracer of the same type; a loss computed from optimizer.params,
    or from values that were computed before, is not.
    """
    kinds = {type(x) for x in jax.tree.leaves(params) if isinstance(x, jax.core.Tracer)}
    if kinds and type(loss) not in kinds:
        warnings.warn(
            f"{where}: the loss does not depend on the parameters that the function is given. "
            "Compute it from the argument, (params, ...) -> loss, not from optimizer.params, and "
            "without calling backward within.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def differentiate(
    where: str, closure: Callable[..., ArrayLike], params: PyTree
) -> tuple[jax.Array, PyTree]:
    """Computes value and gradient of a closure.

    Warns if the value does not depend on the argument: the closure then reads the parameters from
    the optimizer, and nothing is trained.

    Raises:
      TypeError: the closure does not take the parameters.
    """
    check_closure(where, closure, params)

    def loss(params: PyTree) -> ArrayLike:
        value = closure(params)
        check_loss(where, value, has_aux=False)
        warn_of_constant(where, value, params)
        return value

    value, grads = jax.value_and_grad(loss)(params)
    # The loss may be a parameter itself, whose buffer the step donates.
    return jnp.array(value, copy=True), grads
