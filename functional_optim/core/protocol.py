"""The protocol: a pair of pure functions over pytrees."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from .signatures import named_init
from .state import State

__all__ = [
    "Arrays",
    "GradientTransformation",
    "Hyperparameter",
    "MaskedNode",
    "NoSlot",
    "PyTree",
    "Schedule",
    "Stateless",
    "TransformInitFn",
    "TransformUpdateFn",
    "identity",
]

PyTree = Any
"""Any nesting of containers that JAX knows, with arrays as leaves."""

Arrays = dict[str, jax.Array]
"""Arrays by name, such as the slots of a leaf or the scalars of a step."""

Schedule = Callable[[Any], Any]
"""A function of the number of updates so far (from 0) that returns a scalar."""

Hyperparameter = Any
"""For a factory: a number, a scalar array or a schedule. For the maths: a scalar array."""


class TransformInitFn(Protocol):
    """Makes the state for parameters."""

    def __call__(self, params: PyTree, /) -> PyTree:
        """Returns the state of a transformation that has seen no update."""


class TransformUpdateFn(Protocol):
    """Computes new updates from updates (gradients, for the first link), and the next state."""

    def __call__(
        self, updates: PyTree, state: PyTree, params: PyTree | None = None, /, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        """Returns the new updates, shaped like the old ones, and the new state."""


class GradientTransformation(NamedTuple):
    """A pair of pure functions `(init, update)`: the protocol of the JAX ecosystem.

    `init(params) -> state`; `update(updates, state, params=None, **extra) -> (updates,
    state)`. Flax's `TrainState`, `nnx.Optimizer`, Equinox loops and optax's combinators
    consume this pair, so any transformation of this package runs there.

    A pair of this package is hashable, can be pickled, references no `jax.Array`, and compares
    equal to another made with the same arguments. Its `update` does not depend on the
    hyperparameters: two learning rates share one `update`, and so one compiled program. Two pairs
    made with the same function of yours share it while the values that the function reads stay
    the same.

    Example:
      >>> import functional_optim as fo
      >>> fo.sgd(0.1) == fo.sgd(0.1), fo.sgd(0.1).update is fo.sgd(0.2).update
      (True, True)
    """

    init: Callable[..., Any]
    update: Callable[..., Any]

    # The init prints as the call of the factory, which says all that the two functions would.
    def __repr__(self) -> str:
        return repr(self.init)


class MaskedNode(NamedTuple):
    """A node without leaves in place of a leaf that a mask has removed from a tree."""


class NoSlot(NamedTuple):
    """A node without leaves in place of a slot that a parameter does not have."""


@named_init
@dataclasses.dataclass(frozen=True)
class Stateless:
    """`init` of a transformation that keeps no state."""

    name: str

    def __call__(self, params: PyTree) -> State:
        """Makes the empty state."""
        del params
        return State()

    def __repr__(self) -> str:
        return f"{self.name}()"


def identity_update(
    updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
) -> tuple[PyTree, PyTree]:
    """Returns the updates unchanged."""
    del params, extra
    return updates, state


# A cache may keep a chain with it, because it references nothing.
setattr(identity_update, "is_cacheable", True)  # noqa: B010 (mypy rejects an assignment)


def identity() -> GradientTransformation:
    """Returns updates unchanged, and keeps no state."""
    return GradientTransformation(Stateless("identity"), identity_update)
