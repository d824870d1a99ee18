"""PSGD with a Kronecker product."""

import functional_optim as fo

from ..oracles import psgd as oracles
from .table import RATE_RANGES, Entry, ranges

KRON = (
    ("b1", 1.0, "[0, 1)"),
    ("preconditioner_update_probability", 0.0, "(0, 1]"),
    ("preconditioner_lr", 0.0, "(0, inf)"),
    ("max_rms", 0.0, "(0, inf)"),
    ("max_abs", -1.0, "(0, inf)"),
    ("lipschitz_decay", 1.0, "[0, 1)"),
    ("damping", -1.0, "[0, inf)"),
    ("preconditioner_init_scale", 0.0, "(0, inf)"),
)
BAD_KRON = (
    ({"geometry": "QEP"}, ValueError, "geometry must be one of 'EQ', 'Q0.5EQ1.5', got 'QEP'"),
    ({"memory_save_mode": "some"}, ValueError, "memory_save_mode must be one of 'smart_one_diag'"),
    ({"max_size_triangular": -1}, ValueError, "max_size_triangular must be a number from 0, got"),
    ({"max_skew_triangular": None}, ValueError, "max_skew_triangular must be a number from 0, got"),
    ({"key": None}, TypeError, "scale_by_psgd_kron: key must be an integer or a key of"),
)
SYMMETRIC = {"geometry": "Q0.5EQ1.5", "max_rms": 2.0, "max_abs": 10.0, "damping": 0.25}

RULES = (
    Entry(
        fo.scale_by_psgd_kron,
        {
            "": {},
            "rare": {
                "preconditioner_update_probability": 0.25,
                "b1": 0.5,
                "key": 7,
                "momentum_into_preconditioner": False,
                "preconditioner_init_scale": 0.25,
            },
            "symmetric": SYMMETRIC,
            "skew": {**SYMMETRIC, "max_skew_triangular": 1.0, "lipschitz_decay": 0.5, "b1": 0.0},
            "one": {"memory_save_mode": "one_diag"},
            "diagonal": {"diagonal": True},
        },
        bad=(*BAD_KRON, *ranges(*KRON)),
        oracle=oracles.scale_by_psgd_kron,
        drift=2e-6,
    ),
    Entry(
        fo.psgd_kron,
        {"": {"learning_rate": 1e-3, "weight_decay": 0.1}},
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(*KRON, ("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        ),
        oracle=oracles.psgd_kron,
    ),
)
