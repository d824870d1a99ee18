"""The names of `optax.contrib`; all of them are in the main namespaces as well."""

from .algorithms.acprop import acprop, scale_by_acprop
from .algorithms.ademamix import ademamix, scale_by_ademamix
from .algorithms.adopt import adopt, scale_by_adopt
from .algorithms.cocob import cocob, scale_by_cocob
from .algorithms.dadapt import dadapt_adamw, dadapt_sgd
from .algorithms.dog import dog, dowg, ldog
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
from .second_order import hutchinson_estimator_diag_hessian
from .transforms.matrices import MuonDimensionNumbers
from .transforms.plateau import reduce_on_plateau
from .transforms.sam import sam
from .transforms.unit_norm import normalize

__all__ = [
    "MuonDimensionNumbers",
    "cocob",
    "dadapt_adamw",
    "dadapt_sgd",
    "dog",
    "dowg",
    "generalized_primal_averaging",
    "hutchinson_estimator_diag_hessian",
    "ldog",
    "mechanize",
    "momo",
    "momo_adam",
    "acprop",
    "ademamix",
    "adopt",
    "madgrad",
    "muon",
    "normalize",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_cocob",
    "scale_by_muon",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_radam",
    "schedule_free_sgd",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_madgrad",
    "scale_by_simplified_ademamix",
    "simplified_ademamix",
]
