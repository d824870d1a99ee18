"""Gradient descent."""

import functional_optim as fo

from ..oracles import sgd as oracles
from .table import RATE_RANGES, Entry, ranges

RULES = (
    Entry(
        fo.sgd,
        {
            "": {"learning_rate": 0.1},
            "momentum": {"learning_rate": 1e-2, "momentum": 0.9},
            "dampening": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.5},
            "nesterov": {"learning_rate": 1e-2, "momentum": 0.9, "nesterov": True},
        },
        bad=ranges(*RATE_RANGES) + ranges(("momentum", -0.9, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.sgd,
    ),
)
