"""ASGD."""

import functional_optim as fo

from ..oracles import asgd as oracles
from .table import RATE_RANGES, Entry, ranges

ASGD_RANGES = (
    ("lambd", -1.0, "[0, inf)"),
    ("alpha", -0.5, "[0, inf)"),
    ("t0", -2.0, "[-1, inf]"),
)
VARIANTS = {
    "": {"learning_rate": 0.01},
    "averaged": {"learning_rate": 0.01, "t0": 3.0},
    "slowed": {"learning_rate": 0.01, "lambd": 0.03125, "alpha": 0.5},
}

RULES = tuple(
    Entry(
        factory,
        VARIANTS,
        bad=ranges(*RATE_RANGES) + ranges(*ASGD_RANGES, learning_rate=0.1),
        oracle=oracle,
    )
    for factory, oracle in (
        (fo.scale_by_asgd, oracles.scale_by_asgd),
        (fo.asgd, oracles.asgd),
    )
)
