"""What programs look for in `optax.contrib`; all of it is also elsewhere in `functional_optim`."""

from .algorithms.acprop import acprop, scale_by_acprop
from .algorithms.ademamix import ademamix, scale_by_ademamix
from .algorithms.adopt import adopt, scale_by_adopt
from .algorithms.madgrad import madgrad, scale_by_madgrad
from .algorithms.muon import muon, scale_by_muon
from .algorithms.simplified_ademamix import scale_by_simplified_ademamix, simplified_ademamix
from .second_order import hutchinson_estimator_diag_hessian
from .transforms.matrices import MuonDimensionNumbers
from .transforms.plateau import reduce_on_plateau
from .transforms.sam import sam
from .transforms.unit_norm import normalize

__all__ = [
    "MuonDimensionNumbers",
    "acprop",
    "ademamix",
    "adopt",
    "hutchinson_estimator_diag_hessian",
    "madgrad",
    "muon",
    "normalize",
    "reduce_on_plateau",
    "sam",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_madgrad",
    "scale_by_muon",
    "scale_by_simplified_ademamix",
    "simplified_ademamix",
]
