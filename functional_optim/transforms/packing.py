"""The slots of many small parameters as few arrays."""

import dataclasses
from typing import Any

from ..core.link import check_pair
from ..core.numbers import as_count
from ..core.packing import SMALL
from ..core.protocol import GradientTransformation
from ..core.rule_init import RuleInit

__all__ = ["packed", "packing"]


def packed(tx: GradientTransformation, max_size: int = SMALL) -> GradientTransformation:
    """Holds the slots of small parameters together: one array for those of one shape and dtype.

    For models of very many small arrays, of which a step costs mostly that they are many. The
    maths then runs on 32 small parameters of a shape at once, mapped over them, and the state has
    few arrays. Parameters, gradients and updates stay as they are; so do the numbers, for
    any transformation: what is a matter of one parameter (a norm, a count of updates, a mask, a
    key) is mapped as the arrays are. Names in checkpoints stay too: `to_state_dict` and the
    files of `save` have each parameter under its own, and one of a state that is not packed
    restores to one that is, and the reverse.

    In the state, a slot that holds some together is a node with `stacks` and `rest`, and
    `unpacked` turns the state into that of `tx`. A shape that fewer than 4 parameters have is not
    worth it, nor is a gradient that is None or sparse where others have one: at such a step its
    group is taken apart. What wrappers keep of their own stays as it is, as do slots of other
    libraries, and of rules that look at the whole tree, such as L-BFGS.

    Args:
      tx: any pair of this package; one of its rules at least keeps slots.
      max_size: how many elements a parameter has at most to be small.

    Differences: optax's `flatten` makes one vector of all parameters, and rules that look at a
    parameter as a whole see that.

    Raises:
      TypeError: tx is not a pair of functions, or max_size no integer.
      ValueError: max_size is below 1, or tx holds no rule of this package that keeps slots.

    Example:
      >>> import functional_optim as fo, jax, jax.numpy as jnp
      >>> params = {"a": [jnp.ones((2, 3)) for _ in range(100)], "b": jnp.ones((100, 100))}
      >>> state = fo.packed(fo.sgd(0.1, momentum=0.9)).init(params)
      >>> [x.shape for x in jax.tree.leaves(state.trace.trace)]
      [(32, 2, 3), (32, 2, 3), (32, 2, 3), (4, 2, 3), (100, 100)]
      >>> fo.to_state_dict(state)["trace.trace.a.42"].shape
      (2, 3)
    """
    init, update = check_pair("packed: tx", tx)
    made, found = packing(init, as_count(max_size, "packed: max_size"))
    if not found:
        raise ValueError(
            f"packed: {tx!r} holds no rule of this package that keeps slots. Leave packed out."
        )
    return GradientTransformation(made, update)


def packing(init: Any, max_size: int) -> tuple[Any, bool]:
    """That init with rules that hold slots together, and whether it has any such rules."""
    if isinstance(init, RuleInit):
        packs = init.update.rule.by_leaf and init.update.rule.slots is not None
        return (dataclasses.replace(init, pack=max_size) if packs else init), packs
    if type(init) is tuple:
        parts = [packing(x, max_size) for x in init]
        return tuple(x for x, _ in parts), any(found for _, found in parts)
    if not dataclasses.is_dataclass(init) or isinstance(init, type):
        return init, False
    fields = {f.name: packing(getattr(init, f.name), max_size) for f in dataclasses.fields(init)}
    changed = {k: x for k, (x, found) in fields.items() if found}
    return (dataclasses.replace(init, **changed) if changed else init), bool(changed)
