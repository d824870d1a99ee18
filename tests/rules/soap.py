"""SOAP and its family."""

import functional_optim as fo

from ..oracles import soap as oracles
from .table import RATE_RANGES, Entry, ranges

EVERY_TWO = {"precondition_frequency": 2}
"""Often enough that a short run refreshes the bases."""

BAD = (
    ("b1", 1.0, "[0, 1)"),
    ("b2", -0.1, "[0, 1)"),
    ("eps", -1.0, "[0, inf)"),
    ("shampoo_beta", 1.0, "[-1, 1)"),
    ("precondition_frequency", 0, "[1, inf)"),
)
BAD_KL = (*BAD, ("max_clamp", 0.0, "(0, inf]"), ("init_factor", 0.0, "(0, inf)"))
KL_DRIFT = 3e-6
"""Squares are divided by small eigenvalues before they are averaged."""
SIDES = tuple(
    ({"max_precond_dim": n}, ValueError, "max_precond_dim must be a whole number from 0, got")
    for n in (-1, 2.5)
)

RULES = (
    Entry(
        fo.scale_by_soap,
        {
            "": EVERY_TWO,
            "beta": {**EVERY_TWO, "shampoo_beta": 0.75, "b1": 0.5, "correct_bias": False},
            "narrow": {**EVERY_TWO, "max_precond_dim": 3},
            "one side": {**EVERY_TWO, "one_sided": True},
            "normalized": {"precondition_frequency": 3, "normalize_grads": True},
        },
        bad=(*ranges(*BAD), *SIDES),
        oracle=oracles.scale_by_soap,
    ),
    Entry(
        fo.scale_by_kl_shampoo,
        {
            "": EVERY_TWO,
            "beta": {**EVERY_TWO, "shampoo_beta": 0.9, "b1": 0.5, "init_factor": 1.0},
            "narrow": {**EVERY_TWO, "max_precond_dim": 3, "max_clamp": None},
            "normalized": {"precondition_frequency": 3, "normalize_grads": True},
        },
        bad=(*ranges(*BAD_KL), *SIDES),
        oracle=oracles.scale_by_kl_shampoo,
        drift=KL_DRIFT,
    ),
    Entry(
        fo.scale_by_kl_soap,
        {
            "": EVERY_TWO,
            "beta": {**EVERY_TWO, "shampoo_beta": 0.9, "b1": 0.5, "init_factor": 1.0},
            "narrow": {**EVERY_TWO, "max_precond_dim": 3, "max_clamp": None},
        },
        bad=(*ranges(*BAD_KL), *SIDES),
        oracle=oracles.scale_by_kl_soap,
        drift=KL_DRIFT,
    ),
    Entry(
        fo.soap,
        {
            "": {"learning_rate": 3e-3, **EVERY_TWO},
            "rates": {
                "learning_rate": 3e-3,
                "weight_decay": 0.1,
                "adam_weight_decay": 0.0,
                "adam_learning_rate": 1e-2,
                **EVERY_TWO,
            },
        },
        bad=(*ranges(*RATE_RANGES), *ranges(*BAD, learning_rate=0.1)),
        oracle=oracles.soap,
        leave_out={"traces": "its slots change between the shapes of parameters and of matrices"},
    ),
    Entry(
        fo.soap_muon,
        {
            "": {"learning_rate": 0.02, **EVERY_TWO},
            "rms": {"learning_rate": 1e-3, "consistent_rms": 0.2, **EVERY_TWO},
        },
        bad=(*ranges(*RATE_RANGES), *ranges(*BAD, learning_rate=0.1)),
        oracle=oracles.soap_muon,
        leave_out={"traces": "orthogonalize stacks the leaves of one shape, between other links"},
    ),
    Entry(
        fo.kl_shampoo,
        {"": {"learning_rate": 1e-3, **EVERY_TWO}},
        bad=(*ranges(*RATE_RANGES), *ranges(*BAD_KL, learning_rate=0.1)),
        oracle=oracles.kl_shampoo,
        drift=KL_DRIFT,
    ),
    Entry(
        fo.kl_soap,
        {"": {"learning_rate": 1e-3, **EVERY_TWO}},
        bad=(*ranges(*RATE_RANGES), *ranges(*BAD_KL, learning_rate=0.1)),
        oracle=oracles.kl_soap,
        drift=KL_DRIFT,
    ),
)
