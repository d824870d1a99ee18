"""Transformations without state, made of one function."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import PyTreeDef

from .adapter import ExtraArgsAdapter, check_pair
from .caching import Interned
from .functions import as_function
from .protocol import GradientTransformation, PyTree
from .trees.structure import align_params, is_placeholder
from .types import EmptyState

__all__ = [
    "init_empty_state",
    "stateless",
    "stateless_with_tree_map",
    "with_extra_args_support",
]


def init_empty_state(params: PyTree) -> EmptyState:
    """Makes the empty state: an `init` for custom transformations that keep no state."""
    del params
    return EmptyState()


def stateless(f: Callable[[PyTree, PyTree | None], PyTree]) -> GradientTransformation:
    """Makes a transformation of a function of the updates and the parameters, as trees.

    Args:
      f: `f(updates, params) -> updates`. `params` is None if `update` got none.

    Raises:
      TypeError: `f` is not callable.

    Example:
      >>> import functional_optim as fo
      >>> double = fo.stateless(lambda updates, params: {"w": 2 * updates["w"]})
      >>> double.update({"w": 3.0}, double.init({"w": 0.0}))
      ({'w': 6.0}, EmptyState())
    """
    return GradientTransformation(
        init_empty_state, FunctionUpdate.of(_checked_function("stateless", f))
    )


def stateless_with_tree_map(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """Makes a transformation of a function of one update and its parameter, as arrays.

    `f` is not called for an update that is None.

    Args:
      f: `f(update, param) -> update`. `param` is None if `update` got no parameters.

    Raises:
      TypeError: `f` is not callable.

    Example:
      >>> import functional_optim as fo
      >>> double = fo.stateless_with_tree_map(lambda u, p: 2 * u)
      >>> double.update({"w": 3.0, "b": None}, double.init({"w": 0.0, "b": 0.0}))
      ({'b': None, 'w': 6.0}, EmptyState())
    """
    f = _checked_function("stateless_with_tree_map", f)
    return GradientTransformation(init_empty_state, FunctionUpdate.of(EachLeaf(f)))


def with_extra_args_support(tx: GradientTransformation) -> GradientTransformation:
    """Lets a pair's update be called with any extra arguments; it gets the ones that it takes.

    `chain` and the other combinators do this for their links.

    Args:
      tx: a pair of functions, such as a transformation of another library.

    Raises:
      TypeError: `tx` is not a pair of callables.
    """
    # The signature is read here once, and not at each step.
    init, update = check_pair("with_extra_args_support: tx", tx)
    return GradientTransformation(init, Lenient.of(ExtraArgsAdapter.to(update)))


def _checked_function(where: str, f: Callable[..., Any]) -> Callable[..., Any]:
    if not callable(f):
        raise TypeError(
            f"{where}: f must be a function of an update and a parameter, got {f!r}. Pass "
            "lambda update, param: ..."
        )
    return as_function(f)


@dataclasses.dataclass(frozen=True)
class FunctionUpdate(Interned):
    """`update` of a transformation that applies a function of updates and parameters."""

    f: Callable[[PyTree, PyTree | None], PyTree]

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        """Applies the function, and returns the state unchanged."""
        del extra
        return self.f(updates, params), state


@dataclasses.dataclass(frozen=True)
class EachLeaf:
    """A function of arrays, applied to the leaves of trees."""

    f: Callable[[jax.Array, jax.Array | None], jax.Array]

    def __call__(self, updates: PyTree, params: PyTree | None) -> PyTree:
        """Applies the function to each leaf that is not missing."""
        treedef: PyTreeDef
        leaves, treedef = jax.tree.flatten(updates, is_leaf=is_placeholder)
        present = [leaf for leaf in leaves if not is_placeholder(leaf)]
        param_leaves: list[Any] = [None] * len(present)
        # `params` may have leaves that the updates lack.
        if params is not None:
            param_leaves = align_params(updates, params, link="stateless_with_tree_map")
        # Both lists lack the placeholders, which are put back between the results.
        results = map(self.f, present, param_leaves)
        return treedef.unflatten([u if is_placeholder(u) else next(results) for u in leaves])


@dataclasses.dataclass(frozen=True)
class Lenient(Interned):
    """An `update` that takes any extra argument."""

    link: ExtraArgsAdapter

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        """Calls the update with the extra arguments that it takes."""
        return self.link(updates, state, params, extra)
