"""Adamax."""

import functional_optim as fo

from ..oracles import adamax as oracles
from .table import RATE_RANGES, Entry, ranges

ADAMAX_RANGES = (("b1", 1.0, "[0, 1)"), ("b2", 1.0, "[0, 1)"), ("eps", -1e-8, "[0, inf)"))
B2 = 1 - 2.0**-10
"""Exact in float32: nu fades as b2^t, and of 0.999^1000 float32 keeps five digits."""

RULES = (
    Entry(
        fo.scale_by_adamax,
        {"": {"b2": B2}},
        bad=ranges(*ADAMAX_RANGES),
        oracle=oracles.scale_by_adamax,
    ),
    Entry(
        fo.adamax,
        {"": {"learning_rate": 1e-3, "b2": B2}},
        bad=ranges(*RATE_RANGES) + ranges(*ADAMAX_RANGES, learning_rate=0.1),
        oracle=oracles.adamax,
    ),
    Entry(
        fo.adamaxw,
        {"": {"learning_rate": 1e-3, "b2": B2}},
        bad=ranges(*RATE_RANGES) + ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.adamaxw,
    ),
)
