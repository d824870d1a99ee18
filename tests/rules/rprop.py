"""Rprop."""

import functional_optim as fo

from ..oracles import rprop as oracles
from .table import RATE_RANGES, Entry, ranges

RPROP_RANGES = (
    ("eta_minus", 1.0, "(0, 1)"),
    ("eta_minus", 0.0, "(0, 1)"),
    ("eta_plus", 1.0, "(1, inf)"),
    ("min_step_size", -1.0, "[0, inf)"),
    ("max_step_size", -1.0, "[0, inf]"),
)

RULES = (
    Entry(
        fo.scale_by_rprop,
        {
            "": {"learning_rate": 0.01},
            # Both bounds are met within twenty steps.
            "bounds": {"learning_rate": 0.01, "min_step_size": 0.005, "max_step_size": 0.015},
            "etas": {"learning_rate": 0.01, "eta_minus": 0.9, "eta_plus": 1.0625},
        },
        bad=ranges(*RATE_RANGES) + ranges(*RPROP_RANGES, learning_rate=0.1),
        oracle=oracles.scale_by_rprop,
    ),
    Entry(
        fo.rprop,
        {"": {"learning_rate": 0.01}},
        bad=ranges(*RATE_RANGES) + ranges(*RPROP_RANGES, learning_rate=0.1),
        oracle=oracles.rprop,
    ),
)
