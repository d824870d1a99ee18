"""Adagrad."""

import functional_optim as fo

from ..oracles import adagrad as oracles
from .table import RATE_RANGES, Entry, ranges

RSS_RANGES = (
    ("initial_accumulator_value", -0.1, "[0, inf)"),
    ("eps", -1.0, "[0, inf)"),
    ("lr_decay", -0.5, "[0, inf)"),
)
TORCH = {"initial_accumulator_value": 0.0, "eps": 1e-10, "eps_in_sqrt": False, "lr_decay": 0.1}

RULES = (
    Entry(
        fo.scale_by_rss,
        {"": {}, "torch": TORCH, "eps=0": {"initial_accumulator_value": 0.0, "eps": 0.0}},
        bad=ranges(*RSS_RANGES),
        oracle=oracles.scale_by_rss,
    ),
    Entry(
        fo.adagrad,
        {"": {"learning_rate": 0.1}},
        bad=ranges(*RATE_RANGES) + ranges(*RSS_RANGES, learning_rate=0.1),
        oracle=oracles.adagrad,
    ),
)
