"""Differentiable estimates of functions, by noise on their arguments."""

from .noise import Gumbel, Normal
from .perturbed import make_perturbed_fun

__all__ = ["Gumbel", "Normal", "make_perturbed_fun"]
