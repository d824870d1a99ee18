"""Names of types as programs of the field write them in annotations and in their own links."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .protocol import GradientTransformation, Hyperparameter, PyTree, Schedule, TransformUpdateFn

__all__ = [
    "ArrayTree",
    "EmptyState",
    "GradientTransformationExtraArgs",
    "MaskOrFn",
    "OptState",
    "Params",
    "ScalarOrSchedule",
    "Schedule",
    "TransformUpdateExtraArgsFn",
    "Updates",
]

ArrayTree = Params = Updates = OptState = PyTree

ScalarOrSchedule = Hyperparameter

MaskOrFn = PyTree | Callable[[PyTree], Any] | None

# There is one protocol here: every update takes extra arguments.
GradientTransformationExtraArgs = GradientTransformation
TransformUpdateExtraArgsFn = TransformUpdateFn


class EmptyState(NamedTuple):
    """State of a transformation that keeps none."""
