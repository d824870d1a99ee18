"""What programs look for in `optax.contrib`; all of it is also elsewhere in `functional_optim`."""

from .algorithms.muon import muon, scale_by_muon
from .second_order import hutchinson_estimator_diag_hessian
from .transforms.matrices import MuonDimensionNumbers
from .transforms.plateau import reduce_on_plateau
from .transforms.sam import sam
from .transforms.unit_norm import normalize

__all__ = [
    "MuonDimensionNumbers",
    "hutchinson_estimator_diag_hessian",
    "muon",
    "normalize",
    "reduce_on_plateau",
    "sam",
    "scale_by_muon",
]
