"""Muon, and the links of which it consists."""

import jax
import jax.numpy as jnp

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
)
BAD_OPTIONS = (
    *BAD_ROUNDS,
    (
        {"safety_factor": 0.0},
        ValueError,
        "safety_factor must be a positive number or None, got 0.0",
    ),
    ({"preconditioning": "max"}, ValueError, "preconditioning must be one of 'frobenius'"),
    (
        {"method": "qr"},
        ValueError,
        "method must be one of 'newton_schulz', 'svd', 'qdwh'",
    ),
    (
        {"ns_coeffs": "cans", "ns_dtype": jnp.bfloat16},
        ValueError,
        "ns_coeffs='cans' needs ns_dtype=None",
    ),
)
STACKED = {"traces": "orthogonalize stacks the leaves of one shape, between other links"}
SECOND_MOMENT = (("beta2", 1.0, "[0, 1)"), ("eps", 0.0, "(0, inf)"))
BAD_SCALES = (
    (
        {"learning_rate": 0.1, "scale": "rms"},
        ValueError,
        "muon: scale must be one of 'original', 'match_rms', 'unit_rms', got 'rms'",
    ),
    (
        {"learning_rate": 0.1, "scale": "unit_rms", "consistent_rms": 0.2},
        ValueError,
        "muon: consistent_rms must be None with scale='unit_rms'",
    ),
)


def last_axes(params):
    """Makes every parameter with two axes or more a matrix of the last two."""
    last = fo.MuonDimensionNumbers(-2, -1)
    return jax.tree.map(lambda p: last if p.ndim > 1 else None, params)


RULES = (
    Entry(
        fo.orthogonalize,
        {
            "": {},
            "cubic": CUBIC,
            "adaptive": {**CUBIC, "adaptive": True, "eps": 0.0},
            "pairs": {"gram": True, "safety_factor": 1.5},
            "svd": {"method": "svd"},
            "qdwh": {"method": "qdwh", "adaptive": True},
        },
        bad=(*BAD_OPTIONS, *ranges(("eps", -1.0, "[0, inf)"))),
        oracle=oracles.orthogonalize,
        drift=1e-6,  # of pairs; the Gram matrix of the second round has errors of the first
    ),
    Entry(
        fo.scale_by_muon,
        {
            "": {},
            "plain": {**CUBIC, "nesterov": False, "beta": 0.5},
            "corrected": {"bias_correction": True, "beta": 0.5},
            "corrected-plain": {"bias_correction": True, "nesterov": False, "beta": 0.5},
        },
        bad=(*BAD_OPTIONS, *ranges(("beta", 1.5, "[0, 1]"), ("eps", -1.0, "[0, inf)"))),
        oracle=oracles.scale_by_muon,
    ),
    Entry(
        fo.scale_by_normuon,
        {"": {}, "plain": {**CUBIC, "nesterov": False, "beta": 0.5, "beta2": 0.5}},
        bad=(*BAD_ROUNDS, *ranges(("beta", 1.5, "[0, 1]"), *SECOND_MOMENT)),
        oracle=oracles.scale_by_normuon,
    ),
    Entry(
        fo.scale_by_adamuon,
        {
            "": {},
            "plain": {**CUBIC, "nesterov": False, "beta": 0.5, "beta2": 0.5, "use_sign": False},
        },
        bad=(
            *BAD_ROUNDS,
            *ranges(("beta", 1.5, "[0, 1]"), ("consistent_rms", -1.0, "[0, inf)"), *SECOND_MOMENT),
        ),
        oracle=oracles.scale_by_adamuon,
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
            "unit": {"learning_rate": 1e-3, "scale": "unit_rms", "bias_correction": True},
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
                "muon: ns_steps must be an integer from 0, and less than 100, got -1",
            ),
            *BAD_SCALES,
        ),
        oracle=oracles.muon,
    ),
    Entry(
        fo.normuon,
        {
            "": {"learning_rate": 1e-3},
            "decay": {
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "adam_weight_decay": 0.1,
                "adam_learning_rate": 5e-3,
                "axes": last_axes,
            },
            "rms": {"learning_rate": 1e-3, "scale": "match_rms", "beta": 0.5, "adam_b1": 0.5},
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
            *BAD_SCALES,
        ),
        oracle=oracles.normuon,
        leave_out=STACKED,
    ),
    Entry(
        fo.adamuon,
        {
            "": {"learning_rate": 1e-3},
            "decay": {
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "adam_weight_decay": 0.1,
                "adam_learning_rate": 5e-3,
                "axes": last_axes,
            },
            "plain": {"learning_rate": 1e-3, "use_sign": False, "beta": 0.5, "adam_b1": 0.5},
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        ),
        oracle=oracles.adamuon,
        leave_out=STACKED,
    ),
)
