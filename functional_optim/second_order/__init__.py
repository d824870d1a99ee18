"""Second derivatives of losses: products with the Hessian, its diagonal, and estimates of it."""

from .diagonal import fisher_diag, hessian_diag, hutchinson_diag
from .gauss_newton import gauss_newton_bartlett_estimator
from .hutchinson import hutchinson_estimator_diag_hessian
from .products import hvp

__all__ = [
    "fisher_diag",
    "gauss_newton_bartlett_estimator",
    "hessian_diag",
    "hutchinson_diag",
    "hutchinson_estimator_diag_hessian",
    "hvp",
]
