"""Muon, and what it is made of."""

import jax

import functional_optim as fo

from ..oracles import muon as oracles
from .table import RATE_RANGES, Entry, matrices, ranges

CUBIC = {"ns_coeffs": ((1.5, -0.5, 0.0),), "ns_steps": 8}
TRIPLES = "ns_coeffs must be a tuple of exactly 3 values, or of such tuples"

BAD_ROUNDS = (
    ({"ns_coeffs": (1.5, -0.5)}, ValueError, TRIPLES),
    ({"ns_coeffs": [1.5, -0.5, 0.0]}, ValueError, TRIPLES),
    ({"ns_coeffs": "cube"}, ValueError, "ns_coeffs must be one of 'standard', 'dion'"),
    ({"ns_coeffs": "dion", "ns_steps": 3}, ValueError, "more triples than ns_steps=3"),
    ({"ns_steps": 100}, ValueError, "ns_steps must be an integer from 0, and less than 100"),
    ({"preconditioning": "max"}, ValueError, "preconditioning must be one of 'frobenius'"),
)


def last_axes(params):
    """Every parameter with two axes or more is a matrix of the last two."""
    last = fo.MuonDimensionNumbers(-2, -1)
    return jax.tree.map(lambda p: last if p.ndim > 1 else None, params)


RULES = (
    Entry(
        fo.orthogonalize,
        {"": {}, "cubic": CUBIC, "adaptive": {**CUBIC, "adaptive": True, "eps": 0.0}},
        bad=(*BAD_ROUNDS, *ranges(("eps", -1.0, "[0, inf)"))),
        oracle=oracles.orthogonalize,
    ),
    Entry(
        fo.scale_by_muon,
        {"": {}, "plain": {**CUBIC, "nesterov": False, "beta": 0.5}},
        bad=(*BAD_ROUNDS, *ranges(("beta", 1.5, "[0, 1]"), ("eps", -1.0, "[0, inf)"))),
        oracle=oracles.scale_by_muon,
    ),
    Entry(
        fo.muon,
        {
            "": {"learning_rate": 1e-3},
            "decay": {
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "adam_weight_decay": 0.1,
                "adam_learning_rate": 5e-3,
            },
            "rms": {"learning_rate": 1e-3, "consistent_rms": 0.2, "beta": 0.5, "adam_b1": 0.5},
            "specs": {
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "weight_decay_mask": matrices,
                "muon_weight_dimension_numbers": last_axes,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
            (
                {"learning_rate": 0.1, "ns_steps": -1},
                ValueError,
                "orthogonalize: ns_steps must be an integer from 0, and less than 100, got -1",
            ),
        ),
        oracle=oracles.muon,
    ),
)
