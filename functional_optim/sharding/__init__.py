"""Where the arrays of a state lie on a mesh: told before they are made, and spread on purpose."""

from .gradients import scattered_value_and_grad
from .shardings import state_shardings
from .zero import zero1

__all__ = ["scattered_value_and_grad", "state_shardings", "zero1"]
