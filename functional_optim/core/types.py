"""Type aliases under the names that optax uses."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .protocol import GradientTransformation, PyTree, Schedule, TransformUpdateFn

__all__ = [
    "ArrayTree",
    "EmptyState",
    "GradientTransformationExtraArgs",
    "MaskOrFn",
    "OptState",
    "Params",
    "Required",
    "ScalarOrSchedule",
    "Schedule",
    "TransformUpdateExtraArgsFn",
    "Updates",
]

ArrayTree = PyTree
"""Any nesting of containers that JAX knows, with arrays as leaves."""

Params = PyTree
"""A tree of parameters."""

Updates = PyTree
"""A tree of updates, shaped like the parameters; the first link receives the gradients."""

OptState = PyTree
"""The state of a transformation, as `init` makes it."""

ScalarOrSchedule = float | jax.Array | np.ndarray[Any, Any] | np.number[Any] | Schedule
"""A number, a scalar array or a schedule: the values that a hyperparameter may be given."""

MaskOrFn = PyTree | Callable[[PyTree], PyTree] | None
"""A tree of booleans, a function from the parameters to such a tree, or None for all leaves."""

GradientTransformationExtraArgs = GradientTransformation
"""Another name of `GradientTransformation`, whose `update` always takes extra arguments."""

TransformUpdateExtraArgsFn = TransformUpdateFn
"""Another name of `TransformUpdateFn`, which always takes extra arguments."""


class EmptyState(NamedTuple):
    """State of a transformation that keeps nothing."""


class Required(enum.Enum):
    """Marks a `default` that was not passed: if nothing is found, the call then raises an error.

    None cannot be the marker, because it may be passed as the result for that case.
    """

    ERROR = "error"

    # help() shows it as the value of a default.
    def __repr__(self) -> str:
        return "<an error>"
