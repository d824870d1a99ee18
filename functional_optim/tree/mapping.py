"""Mapping over what a state keeps for each parameter."""

from collections.abc import Callable
from typing import Any

import jax

from ..core.protocol import PyTree
from ..core.trees.placeholders import AnyParams
from ..core.trees.structure import is_placeholder

__all__ = ["map_params"]


def map_params(
    initable: Any,
    f: Callable[..., Any],
    state: PyTree,
    /,
    *rest: PyTree,
    transform_non_params: Callable[..., Any] | None = None,
    is_leaf: Callable[..., bool] | None = None,
) -> PyTree:
    """Maps a function over all trees of a state that are shaped like the parameters.

    These are the trees that `init` makes by mapping over the parameters: it is called with a
    stand-in for them, and found again is where they were. So `mu` and `nu` are among them, and
    slots whose arrays have not the parameter's shape.

    Args:
      initable: the transformation whose state it is, or its `init`.
      f: called with each leaf, and what stands in its place in `rest`. Where a parameter has no
        array, because a mask took it out or it has not this slot, nothing is called.
      state: a state that `init` or `update` returned.
      *rest: trees with the structure of the parameters.
      transform_non_params: called with each other leaf; without it, they stay as they are.
      is_leaf: where to stop on the way down, and call `f`: also where there is no array.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.1, momentum=0.9)
      >>> state = fo.tree.map_params(tx, lambda m, c: m + c, tx.init({"w": 1.0}), {"w": 2.0})
      >>> fo.tree.get(state, "trace")
      {'w': Array(2., dtype=float32)}
    """
    init = getattr(initable, "init", initable)

    def is_end(node: Any) -> bool:
        return is_placeholder(node) or (is_leaf is not None and is_leaf(node))

    def on_leaf(x: Any, *others: Any) -> Any:
        left_out = is_placeholder(x) and not (is_leaf is not None and is_leaf(x))
        return x if left_out else f(x, *others)

    def mapped(here: Any, value: Any) -> Any:
        if _stands_in(here):
            return jax.tree.map(on_leaf, value, *rest, is_leaf=is_end)
        return value if transform_non_params is None else transform_non_params(value)

    return jax.tree.map(mapped, init(AnyParams()), state, is_leaf=_stands_in)


def _stands_in(node: Any) -> bool:
    return isinstance(node, AnyParams)
