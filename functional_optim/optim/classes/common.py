"""What the recipes of several classes begin with."""

from typing import Any

from ...core.protocol import GradientTransformation
from ...core.rule import renamed
from ...transforms.momentum import trace
from ...transforms.scaling import scale

__all__ = ["momentum_trace", "pair", "signed"]

momentum_trace = renamed(trace, decay="momentum")
"""`trace` under torch's name of its number."""


def signed(maximize: bool) -> GradientTransformation:
    """The gradient to descend along; a number, so that the option can be edited."""
    return scale(-1.0 if maximize else 1.0)


def pair(betas: Any) -> tuple[Any, Any]:
    """Betas, checked to be two."""
    if not isinstance(betas, tuple):
        raise TypeError(f"betas must be a pair of numbers, got {betas!r}. Pass (0.9, 0.99).")
    if len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {len(betas)}. Pass (0.9, 0.99).")
    return betas
