"""The linear assignment problem: which row goes with which column, so that the costs are least."""

from .hungarian import base_hungarian_algorithm, hungarian_algorithm

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]
