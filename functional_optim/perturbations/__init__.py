"""Differentiable estimates of functions, by noise on their arguments."""

from .multi_normal import MultiNormalDiagFromLogScale, multi_normal
from .noise import Gumbel, Normal
from .perturbed import make_perturbed_fun

__all__ = [
    "Gumbel",
    "MultiNormalDiagFromLogScale",
    "Normal",
    "make_perturbed_fun",
    "multi_normal",
]
