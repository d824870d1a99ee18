"""Counting the updates of each leaf from the start."""

import dataclasses

from ..core.adapter import check_pair
from ..core.protocol import GradientTransformation
from ..core.rules.init import RuleInit, replace_rule_inits

__all__ = ["per_leaf_counts"]


def per_leaf_counts(tx: GradientTransformation) -> GradientTransformation:
    """Lets the state count the updates of each leaf from `init` on.

    By default all leaves share one count, and the state keeps it as one scalar. At the first update
    in which some leaf's gradient is None, the state gains `leaf_counts`, one count per leaf, so
    that a leaf without a gradient keeps its count. `lax.scan` and other loops need a carry of fixed
    structure; this wrapper adds the counts from the start. Wrappers that act at some
    steps only, such as `MultiSteps` and `apply_if_finite`, need it as well if a gradient may be
    None.

    The updates are the same with and without it. `leaf_counts` `(n,)`, int32, stands next to
    `count` in the state of each rule that keeps slots or depends on the number of a leaf's updates;
    the scalars that such a rule carries from step to step have the shape `(n,)` too.

    Args:
      tx: any transformation of this package, or one that contains some.

    Raises:
      TypeError: tx is not a pair of functions.

    Example:
      >>> import functional_optim as fo, jax.numpy as jnp
      >>> params = {"a": jnp.ones(2), "b": jnp.ones(3)}
      >>> tx = fo.per_leaf_counts(fo.adam(0.1))
      >>> _, state = tx.update({"a": jnp.ones(2), "b": None}, tx.init(params), params)
      >>> print(state.scale_by_adam.count, state.scale_by_adam.leaf_counts)
      1 [1 0]
    """
    init, update = check_pair("per_leaf_counts: tx", tx)
    init, _ = replace_rule_inits(init, _with_leaf_counts)
    # A wrapper may make inner states again, so its update has inits too.
    update, _ = replace_rule_inits(update, _with_leaf_counts)
    return GradientTransformation(init, update)


def _with_leaf_counts(init: RuleInit) -> RuleInit:
    return dataclasses.replace(init, per_leaf_counts=True)
