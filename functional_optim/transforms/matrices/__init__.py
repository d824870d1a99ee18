"""Parameters as matrices.

The modules, each on those before it:

- `axes`: the axes of a parameter's matrices, and the matrices as arrays.
- `by_name`: recognizes layers by their names and shapes.
- `routing`: finds the matrices of a tree.
- `wrapper`: applies a transformation to the matrices.
"""

from .axes import (
    Blocks,
    MatrixAxes,
    MuonDimensionNumbers,
    all_of,
    as_matrix_axes,
    one_or_all,
)
from .by_name import Vectors
from .routing import (
    MatrixLeaves,
    OnlyMatrices,
    UnclearMatrices,
    axes_by_name,
    shown,
    two_axes,
)
from .wrapper import MatricesInit, MatricesUpdate, on_matrices

__all__ = [
    "Blocks",
    "MatricesInit",
    "MatricesUpdate",
    "MatrixAxes",
    "MatrixLeaves",
    "MuonDimensionNumbers",
    "OnlyMatrices",
    "UnclearMatrices",
    "Vectors",
    "all_of",
    "as_matrix_axes",
    "axes_by_name",
    "on_matrices",
    "one_or_all",
    "shown",
    "two_axes",
]
