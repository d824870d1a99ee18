"""Stacking the slots of many small parameters in few arrays."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from ..core.adapter import check_pair
from ..core.leaf.packing import MAX_PACKED_SIZE
from ..core.numerics.validation import as_count
from ..core.protocol import GradientTransformation, PyTree
from ..core.rules.init import RuleInit, replace_rule_inits

__all__ = ["packed", "packing"]

Function = TypeVar("Function", bound=Callable[..., PyTree])


def packed(tx: GradientTransformation, max_size: int = MAX_PACKED_SIZE) -> GradientTransformation:
    """Stacks the slots of small parameters: one array for up to 32 of equal shape and dtype.

    This is for models with very many small arrays, whose steps take long mostly because of their
    number. The maths then runs on 32 small parameters of equal shape together, mapped over them,
    and the state has few arrays. Parameters, gradients and updates are not stacked, and the numbers
    do not change, for any transformation, because everything that belongs to one parameter (a norm,
    a count of updates, a mask, a key) is mapped like the arrays. Names in checkpoints do not change
    either: `to_state_dict` and the files of `save` have each parameter under its name, and a
    checkpoint of an unpacked state can be restored to a packed state, and the reverse.

    In the state, a slot that stacks some parameters is a node with `stacks` and `rest`, and
    `unpacked` turns the state into the state of `tx`. Shapes of fewer than 4 parameters are not
    stacked. If only some gradients of a stack are None or sparse, it is unstacked for that step.
    Arrays of wrappers, slots of other libraries, and slots of rules that read the whole tree, such
    as L-BFGS, are not stacked.

    Args:
      tx: any transformation of this package, with at least one rule that has slots.
      max_size: the largest number of elements of a small parameter.

    Differences: optax's `flatten` makes one vector of all parameters; rules that read a parameter
    as a whole then see this vector.

    Raises:
      TypeError: tx is not a pair of functions, or max_size is not an integer.
      ValueError: max_size is below 1, or tx has no rule of this package with slots.

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
    max_size = as_count(max_size, "packed: max_size")
    packed_init, has_slots = packing(init, max_size)
    if not has_slots:
        raise ValueError(
            f"packed: {tx!r} holds no rule of this package that keeps slots. Leave packed out."
        )
    update, _ = packing(update, max_size)  # for updates that call init again
    return GradientTransformation(packed_init, update)


def packing(function: Function, max_size: int) -> tuple[Function, bool]:
    """Lets the rules within an `init`, or an `update`, stack small slots.

    Returns:
      The new function, and whether it has rules with slots.
    """

    def stack(rule_init: RuleInit) -> RuleInit | None:
        spec = rule_init.rule.spec
        stacks = spec.slots is not None and not spec.whole_tree
        return dataclasses.replace(rule_init, pack=max_size) if stacks else None

    return replace_rule_inits(function, stack)
