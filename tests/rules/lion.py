"""Lion."""

import functional_optim as fo

from ..oracles import lion as oracles
from .table import RATE_RANGES, Entry, matrices, ranges

LION_RANGES = (("b1", 1.0, "[0, 1)"), ("b2", 2.0, "[0, 1)"))

RULES = (
    Entry(
        fo.scale_by_lion,
        {
            "": {},
            "smooth": {"mode": "smooth", "smooth_beta": 3.0},
            "refined": {"b1": 0.25, "mode": "refined"},
        },
        bad=(
            *ranges(*LION_RANGES),
            *ranges(("smooth_beta", 0.0, "(0, inf)"), mode="smooth"),
            ({"mode": "soft"}, ValueError, "mode must be one of 'hard', 'smooth', 'refined', got"),
            ({"smooth_beta": 2.0}, ValueError, "smooth_beta is for mode='smooth', got mode='hard'"),
        ),
        oracle=oracles.scale_by_lion,
    ),
    Entry(
        fo.lion,
        {
            "": {"learning_rate": 1e-3},
            "mask": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=ranges(*RATE_RANGES) + ranges(*LION_RANGES, learning_rate=0.1),
        oracle=oracles.lion,
    ),
)
