"""The function that is minimized, as a rule of the whole tree calls it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..numerics.precision import cast, compute_dtype
from ..numerics.validation import as_state
from ..protocol import PyTree
from .leaf_table import LeafTable

__all__ = ["Objective", "arguments_of"]

Array = jax.Array


class Objective:
    """`value_fn` as a function of the leaves that have an update, in the computation's precision.

    Its arguments are cast to the dtypes of the parameters, as `apply_updates` casts them. So it
    computes the value at the parameters that the step leads to.
    """

    def __init__(self, value_fn: Callable[..., Any], leaves: LeafTable, extra: Mapping[str, Any]):
        self._value_fn, self._leaves = value_fn, leaves
        self._extra = arguments_of(value_fn, extra)

    def __call__(self, xs: list[Array]) -> Array:
        """Computes the value `()` at other values of those leaves."""
        value = jnp.asarray(self._value_fn(self.whole(xs, self._leaves.params), **self._extra))
        if value.shape or jnp.iscomplexobj(value):
            raise TypeError(
                f"{self._leaves.name}: the function must return a real scalar, got "
                f"{value.dtype} of shape {value.shape}. Return the mean of the losses, for one."
            )
        return as_state(value)

    def whole(self, xs: list[Array], others: list[Any]) -> PyTree:
        """Returns the tree with these values, in the parameters' dtypes, and the other leaves."""
        leaves, result = self._leaves, list(others)
        for i, x in zip(leaves.active, xs, strict=True):
            result[i] = x.astype(leaves.params[i].dtype)
        return leaves.treedef.unflatten(result)

    def value_and_grad(self, xs: list[Array]) -> tuple[Array, list[Array]]:
        """Computes the value, and its gradient as `jax.grad` does, in at least float32."""
        value, grads = jax.value_and_grad(self)(xs)
        return value, [cast(g, compute_dtype(g.dtype)) for g in grads]


def arguments_of(value_fn: Callable[..., Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the extra arguments that a function takes by name."""
    # The first argument is the parameters.
    parameters = list(inspect.signature(value_fn).parameters.values())[1:]
    names = {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}
    return {k: v for k, v in extra.items() if k in names}
