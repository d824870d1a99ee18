"""The linear assignment problem: pairs of rows and columns with the least total cost."""

from .hungarian import base_hungarian_algorithm, hungarian_algorithm

__all__ = ["base_hungarian_algorithm", "hungarian_algorithm"]
