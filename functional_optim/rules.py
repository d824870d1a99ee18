"""What the author of a rule needs: the decorators, and what an argument's annotation may say."""

from .core.decorators import TreeStats, leaf_rule, renamed, tree_rule
from .core.numerics.moments import bias_correction, interpolate, moment
from .core.rules.arguments import (
    Decay,
    Fraction,
    InitOnly,
    NonNegative,
    Optional_,
    Positive,
    RandomKey,
    SlotDtype,
    StateDtype,
    Static,
    Within,
)
from .core.rules.context import Slots, StepContext

__all__ = [
    "Decay",
    "Fraction",
    "InitOnly",
    "NonNegative",
    "Optional_",
    "Positive",
    "RandomKey",
    "SlotDtype",
    "Slots",
    "StateDtype",
    "Static",
    "StepContext",
    "TreeStats",
    "Within",
    "bias_correction",
    "interpolate",
    "leaf_rule",
    "moment",
    "renamed",
    "tree_rule",
]
