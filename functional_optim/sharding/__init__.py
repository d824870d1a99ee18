"""Finds the shardings of a state before it exists, and divides the state over replicas."""

from .gradients import scattered_value_and_grad
from .matrices import MatrixSharding
from .shardings import state_shardings
from .zero import zero1

__all__ = ["MatrixSharding", "scattered_value_and_grad", "state_shardings", "zero1"]
