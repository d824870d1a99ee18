"""RAdam."""

import functional_optim as fo

from ..oracles import radam as oracles
from .table import RATE_RANGES, Entry, ranges

RADAM_RANGES = (
    ("b1", 1.0, "[0, 1)"),
    ("b2", -0.1, "[0, 1)"),
    ("eps", -1e-8, "[0, inf)"),
    ("eps_root", -1.0, "[0, inf)"),
    ("threshold", 3.5, "[4, inf)"),
)
B2 = 1 - 2.0**-10
"""Exact in float32: r is about sqrt(t (1 - b2)), and of 0.999 float32 holds 1 - b2 to 1e-5."""

RULES = (
    Entry(
        fo.scale_by_radam,
        {
            "": {"b2": B2},
            "never": {"b2": 0.6},
            "torch": {"b2": B2, "eps": 1e-2, "eps_before_correction": True},
            "nesterov": {"b2": 0.875, "nesterov": True, "threshold": 4.0, "eps_root": 1e-3},
        },
        bad=ranges(*RADAM_RANGES),
        oracle=oracles.scale_by_radam,
    ),
    Entry(
        fo.radam,
        {"": {"learning_rate": 1e-3, "b2": B2}},
        bad=ranges(*RATE_RANGES) + ranges(*RADAM_RANGES, learning_rate=0.1),
        oracle=oracles.radam,
    ),
)
