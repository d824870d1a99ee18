"""Maps functions over the slots of a state, which are shaped like the parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..core.leaf.packing import Packed, is_packed
from ..core.leaf.quantized import is_quantized
from ..core.protocol import GradientTransformation, PyTree
from ..core.trees.placeholders import AnyParams
from ..core.trees.structure import is_placeholder
from ..core.types import OptState

__all__ = ["map_params"]


def map_params(
    initable: GradientTransformation | Callable[[PyTree], OptState],
    f: Callable[..., PyTree],
    state: OptState,
    /,
    *rest: PyTree,
    transform_non_params: Callable[..., PyTree] | None = None,
    is_leaf: Callable[..., bool] | None = None,
) -> PyTree:
    """Maps a function over all trees of a state that are shaped like the parameters.

    `init` is called with a placeholder for the parameters, which then marks these trees in its
    result: `mu` and `nu`, for example, and also slots whose arrays have other shapes than the
    parameters.

    Args:
      initable: the transformation of the state, or its `init`.
      f: called with each leaf and the leaves of `rest` at the same path. It is not called where a
        parameter has no array, because it is masked or does not have this slot. For a quantized
        array it is called with each part, and for a parameter that is cut into blocks with each of
        its arrays; for parameters that `packed` stacks, once with the whole stack, if the leaves of
        `rest` are the same for all of them.
      state: a state that `init` or `update` returned.
      *rest: trees with the structure of the parameters.
      transform_non_params: called with each other leaf; None leaves them unchanged.
      is_leaf: whether to call `f` with a node, even if it is not an array.

    Raises:
      ValueError: `rest` has different leaves for parameters that are stacked together.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.sgd(0.1, momentum=0.9)
      >>> state = fo.tree.map_params(tx, lambda m, c: m + c, tx.init({"w": 1.0}), {"w": 2.0})
      >>> fo.tree.get(state, "trace")
      {'w': Array(2., dtype=float32)}
    """
    init = initable.init if hasattr(initable, "init") else initable

    def is_end(node: PyTree) -> bool:
        return is_placeholder(node) or is_quantized(node) or (is_leaf is not None and is_leaf(node))

    def on_leaf(x: PyTree, *others: PyTree) -> PyTree:
        if is_leaf is not None and is_leaf(x):
            return f(x, *others)
        if is_quantized(x):
            return jax.tree.map(lambda part: f(part, *others), x)
        return x if is_placeholder(x) else f(x, *others)

    def on_slot(x: PyTree) -> PyTree:
        if is_packed(x):
            return _on_packed(on_leaf, x, rest)
        if rest and not _has_structure(x, rest[0], is_end):
            # A parameter that is cut into blocks has several arrays, which share one leaf of rest.
            treedef: Any = jax.tree.structure(rest[0])
            columns = zip(treedef.flatten_up_to(x), *map(treedef.flatten_up_to, rest), strict=True)
            return treedef.unflatten([on_parts(part, others) for part, *others in columns])
        return jax.tree.map(on_leaf, x, *rest, is_leaf=is_end)

    def on_parts(part: PyTree, others: Sequence[PyTree]) -> PyTree:
        return jax.tree.map(lambda leaf: on_leaf(leaf, *others), part, is_leaf=is_end)

    def on_node(marker: PyTree, value: PyTree) -> PyTree:
        if _is_any_params(marker):
            return on_slot(value)
        return value if transform_non_params is None else transform_non_params(value)

    return jax.tree.map(on_node, init(AnyParams()), state, is_leaf=_is_any_params)


def _has_structure(x: PyTree, like: PyTree, is_end: Callable[[PyTree], bool]) -> bool:
    """Tells whether another tree has a part for each leaf of x."""
    treedef: Any = jax.tree.structure(x, is_leaf=is_end)
    try:
        treedef.flatten_up_to(like)
    except ValueError:
        return False
    return True


def _is_any_params(node: PyTree) -> bool:
    return isinstance(node, AnyParams)


def _on_packed(f: Callable[..., PyTree], slot: Packed, rest: Sequence[PyTree]) -> Packed:
    """Applies `f` to each stack and each unstacked leaf of a slot with stacked leaves."""
    others = list(zip(*(slot.layout.treedef.flatten_up_to(x) for x in rest), strict=True))

    def on_stack(group: tuple[int, ...], stack: jax.Array) -> PyTree:
        first, *more = (others[i] if rest else () for i in group)
        # `f` is called once for the stack, so its arguments must be the same for all parameters.
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
