"""What programs look for in `optax.contrib`; all of it is in `functional_optim` itself."""

from .algorithms.muon import muon, scale_by_muon
from .transforms.matrices import MuonDimensionNumbers
from .transforms.plateau import reduce_on_plateau

__all__ = ["MuonDimensionNumbers", "muon", "reduce_on_plateau", "scale_by_muon"]
