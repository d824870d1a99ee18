"""Transformations that act at some steps only."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike

from ..core.adapter import ExtraArgsAdapter, check_pair, check_state
from ..core.caching import Interned
from ..core.functions import as_function
from ..core.numerics.precision import safe_increment
from ..core.protocol import GradientTransformation, PyTree, TransformInitFn
from ..core.signatures import named_init
from ..core.state import State
from ..core.trees.apply import no_updates
from ..core.trees.placement import place_on_mesh_of
from ..core.trees.sparse_rows import coalesce_rows
from ..core.trees.varying import varying_as
from .conditional_update import run_if

__all__ = ["conditionally_mask", "conditionally_transform"]


def conditionally_transform(
    inner: GradientTransformation,
    should_transform_fn: Callable[..., ArrayLike],
    forward_extra_args: bool = False,
) -> GradientTransformation:
    """Applies a transformation at some steps, and returns the updates unchanged at the others.

    At the other steps the inner transformation is not computed, and its state does not change.

    Args:
      inner: the transformation to apply; in `per_leaf_counts`, if a gradient may be None.
      should_transform_fn: `should_transform_fn(step) -> ()`, a boolean; step `()` is the number
        of updates before this one.
      forward_extra_args: whether the function is called with the extra arguments of `update`
        as well.

    Raises:
      TypeError: inner is not a pair of functions, or the condition not a function.
      ValueError: (by `update`) a gradient is None, and the state has no leaf counts.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.conditionally_transform(fo.scale(2.0), lambda step: step % 2 == 1)
      >>> state = tx.init({"w": 0.0})
      >>> for _ in range(2):
      ...     updates, state = tx.update({"w": jnp.float32(1.0)}, state)
      ...     print(updates["w"])
      1.0
      2.0
    """
    return _make("conditionally_transform", inner, should_transform_fn, forward_extra_args, False)


def conditionally_mask(
    inner: GradientTransformation,
    should_transform_fn: Callable[..., ArrayLike],
    forward_extra_args: bool = False,
) -> GradientTransformation:
    """Applies a transformation at some steps, and makes the updates zero at the others.

    See `conditionally_transform` for the errors.

    Args:
      See `conditionally_transform`.

    Example:
      >>> import functional_optim as fo
      >>> tx = fo.conditionally_mask(fo.scale(2.0), lambda step: step > 0)
      >>> tx.update({"w": jnp.float32(1.0)}, tx.init({"w": 0.0}))[0]
      {'w': Array(-0., dtype=float32)}
    """
    return _make("conditionally_mask", inner, should_transform_fn, forward_extra_args, True)


def _make(
    name: str,
    inner: GradientTransformation,
    condition: Callable[..., ArrayLike],
    forward: bool,
    zero: bool,
) -> GradientTransformation:
    """Makes either wrapper; `zero` tells whether the other steps have zero updates."""
    init, update = check_pair(f"{name}: inner", inner)
    if not callable(condition):
        raise TypeError(f"{name}: should_transform_fn must be a function, got {condition!r}.")
    return GradientTransformation(
        _ConditionalInit(name, init, bool(forward)),
        _ConditionalUpdate.of(
            name, ExtraArgsAdapter.to(update), as_function(condition), bool(forward), zero
        ),
    )


@named_init
@dataclasses.dataclass(frozen=True)
class _ConditionalInit:
    """`init` of a conditional transformation."""

    name: str
    init: TransformInitFn
    forward: bool

    def __call__(self, params: PyTree) -> State:
        """Makes the inner state, and the count of steps."""
        state = State(step=jnp.zeros((), jnp.int32), inner_state=self.init(params))
        if self.forward:  # the condition may depend on gradients
            state = varying_as(state, params)
        return place_on_mesh_of(params, state)

    def __repr__(self) -> str:
        return f"{self.name}({self.init!r})"


@dataclasses.dataclass(frozen=True)
class _ConditionalUpdate(Interned):
    """`update` of a conditional transformation."""

    name: str
    inner: ExtraArgsAdapter
    condition: Callable[..., ArrayLike]
    forward: bool
    zero: bool

    def __call__(
        self, updates: PyTree, state: State, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, State]:
        """Applies the inner transformation where the condition holds."""
        check_state(self.name, updates, state, params)
        updates = coalesce_rows(updates)  # as the inner transformation returns them
        holds = self.condition(state.step, **(extra if self.forward else {}))

        def act() -> tuple[PyTree, PyTree]:
            return self.inner(updates, state.inner_state, params, extra)

        instead = no_updates(updates) if self.zero else updates
        new, inner_state = run_if(self.name, jnp.asarray(holds), act, state.inner_state, instead)
        return new, State(step=safe_increment(state.step), inner_state=inner_state)
