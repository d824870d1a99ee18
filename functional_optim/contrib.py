"""The names of `optax.contrib`; most of them are at the root as well."""

from .algorithms.acprop import acprop, scale_by_acprop
from .algorithms.ademamix import ademamix, scale_by_ademamix
from .algorithms.adopt import adopt, scale_by_adopt
from .algorithms.cocob import cocob, scale_by_cocob
from .algorithms.dadapt import dadapt_adamw, dadapt_sgd
from .algorithms.dog import dog, dowg, ldog
from .algorithms.dpsgd import dpsgd
from .algorithms.galore import GaLoreDimensionNumbers, galore, scale_by_galore
from .algorithms.madgrad import madgrad, scale_by_madgrad
from .algorithms.mechanic import mechanize
from .algorithms.momo import momo, momo_adam
from .algorithms.muon import muon, scale_by_muon
from .algorithms.primal_averaging import generalized_primal_averaging
from .algorithms.prodigy import prodigy
from .algorithms.schedule_free import (
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_radam,
    schedule_free_sgd,
)
from .algorithms.simplified_ademamix import scale_by_simplified_ademamix, simplified_ademamix
from .algorithms.sophia import scale_by_sophia, sophia
from .core.state_types import (
    COCOBState,
    DAdaptAdamWState,
    DifferentiallyPrivateAggregateState,
    DoGState,
    DoWGState,
    GaLoreState,
    HutchinsonState,
    MadgradState,
    MechanicState,
    MomoAdamState,
    MomoState,
    MuonState,
    NormalizeState,
    ProdigyState,
    ReduceLROnPlateauState,
    SAMState,
    ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState,
    ScheduleFreeState,
    SophiaState,
    SplitRealAndImaginaryState,
)
from .second_order import hutchinson_estimator_diag_hessian
from .transforms.complex_parts import SplitRealAndImaginaryArrays, split_real_and_imaginary
from .transforms.matrices import MuonDimensionNumbers
from .transforms.plateau_fields import reduce_on_plateau
from .transforms.privacy import differentially_private_aggregate
from .transforms.sam import sam
from .transforms.unit_norm import normalize

__all__ = [
    "COCOBState",
    "DAdaptAdamWState",
    "DifferentiallyPrivateAggregateState",
    "DoGState",
    "DoWGState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "MadgradState",
    "MechanicState",
    "MomoAdamState",
    "MomoState",
    "MuonDimensionNumbers",
    "MuonState",
    "NormalizeState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScaleByAdemamixState",
    "ScaleBySimplifiedAdEMAMixState",
    "ScheduleFreeState",
    "SophiaState",
    "SplitRealAndImaginaryArrays",
    "SplitRealAndImaginaryState",
    "acprop",
    "ademamix",
    "adopt",
    "cocob",
    "dadapt_adamw",
    "dadapt_sgd",
    "differentially_private_aggregate",
    "dog",
    "dowg",
    "dpsgd",
    "galore",
    "generalized_primal_averaging",
    "hutchinson_estimator_diag_hessian",
    "ldog",
    "madgrad",
    "mechanize",
    "momo",
    "momo_adam",
    "muon",
    "normalize",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_cocob",
    "scale_by_galore",
    "scale_by_madgrad",
    "scale_by_muon",
    "scale_by_simplified_ademamix",
    "scale_by_sophia",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_radam",
    "schedule_free_sgd",
    "simplified_ademamix",
    "sophia",
    "split_real_and_imaginary",
]
