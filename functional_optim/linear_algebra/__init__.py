"""Linear algebra for optimizers: the largest eigenvalue, inverse roots, least squares."""

from .inverse_root import matrix_inverse_pth_root
from .least_squares import nnls
from .power import power_iteration

__all__ = ["matrix_inverse_pth_root", "nnls", "power_iteration"]
