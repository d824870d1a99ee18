"""ASGD."""

import functional_optim as fo

from ..oracles import asgd as oracles
from .table import RATE_RANGES, Entry, ranges

ASGD_RANGES = (
    ("lambd", -1.0, "[0, inf)"),
    ("alpha", -0.5, "[0, inf)"),
    ("t0", -2.0, "[-1, inf]"),
)

RULES = (
    Entry(
        fo.scale_by_asgd,
        {
            "": {"learning_rate": 0.01},
            "averaged": {"learning_rate": 0.01, "t0": 3.0},
            "slowed": {"learning_rate": 0.01, "lambd": 0.03125, "alpha": 0.5},
        },
        bad=ranges(*RATE_RANGES) + ranges(*ASGD_RANGES, learning_rate=0.1),
        oracle=oracles.scale_by_asgd,
    ),
    Entry(
        fo.asgd,
        {"": {"learning_rate": 0.01}},
        bad=ranges(*RATE_RANGES) + ranges(*ASGD_RANGES, learning_rate=0.1),
        oracle=oracles.asgd,
    ),
)
