"""Mapping over what a state keeps for each parameter."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..core.leaf.packing import Packed, is_packed
from ..core.leaf.quantized import is_stored
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
        array, because a mask took it out or it has not this slot, nothing is called. Of an array
        in fewer bits it is called with each part; of what `packed` stacks once, with the whole
        stack, if `rest` has the same for all parameters in it.
      state: a state that `init` or `update` returned.
      *rest: trees with the structure of the parameters.
      transform_non_params: called with each other leaf; without it, they stay as they are.
      is_leaf: where to stop on the way down, and call `f`: also where there is no array.

    Raises:
      ValueError: `rest` has different things for parameters that are stacked together.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.1, momentum=0.9)
      >>> state = fo.tree.map_params(tx, lambda m, c: m + c, tx.init({"w": 1.0}), {"w": 2.0})
      >>> fo.tree.get(state, "trace")
      {'w': Array(2., dtype=float32)}
    """
    init = getattr(initable, "init", initable)

    def is_end(node: Any) -> bool:
        return is_placeholder(node) or is_stored(node) or (is_leaf is not None and is_leaf(node))

    def on_leaf(x: Any, *others: Any) -> Any:
        if is_leaf is not None and is_leaf(x):
            return f(x, *others)
        if is_stored(x):
            return jax.tree.map(lambda part: f(part, *others), x)
        return x if is_placeholder(x) else f(x, *others)

    def on_slot(x: Any) -> Any:
        if is_packed(x):
            return _on_packed(on_leaf, x, rest)
        return jax.tree.map(on_leaf, x, *rest, is_leaf=is_end)

    def mapped(here: Any, value: Any) -> Any:
        if _stands_in(here):
            return on_slot(value)
        return value if transform_non_params is None else transform_non_params(value)

    return jax.tree.map(mapped, init(AnyParams()), state, is_leaf=_stands_in)


def _stands_in(node: Any) -> bool:
    return isinstance(node, AnyParams)


def _on_packed(f: Callable[..., Any], slot: Packed, rest: Sequence[PyTree]) -> Packed:
    """Applies `f` to each stack and each other leaf of a slot with stacked leaves."""
    others = list(zip(*(slot.layout.treedef.flatten_up_to(x) for x in rest), strict=True))

    def on_stack(group: tuple[int, ...], stack: Any) -> Any:
        first, *more = (others[i] if rest else () for i in group)
        for x, y in ((x, y) for other in more for x, y in zip(first, other, strict=True)):
            if x is not y and (hasattr(x, "dtype") or x != y):
                raise ValueError(
                    f"map_params: {x!r} and {y!r} are for parameters that are stacked in one "
                    "array. Map over unpacked(state), or pass the same for all of one shape."
                )
        return f(stack, *first)

    return dataclasses.replace(
        slot,
        stacks=tuple(on_stack(*x) for x in zip(slot.layout.groups, slot.stacks, strict=True)),
        rest=tuple(
            f(x, *(others[i] if rest else ()))
            for i, x in zip(slot.layout.rest, slot.rest, strict=True)
        ),
    )
