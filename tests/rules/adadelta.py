"""Adadelta."""

import functional_optim as fo

from ..oracles import adadelta as oracles
from .table import RATE_RANGES, Entry, matrices, ranges

ADADELTA_RANGES = (("rho", 1.1, "[0, 1]"), ("rho", -0.1, "[0, 1]"), ("eps", -1.0, "[0, inf)"))
DECAYED = {"weight_decay": 0.1, "weight_decay_mask": matrices}

RULES = (
    Entry(
        fo.scale_by_adadelta,
        {"": {}, "eps=1": {"rho": 0.95, "eps": 1.0}},
        bad=ranges(*ADADELTA_RANGES),
        oracle=oracles.scale_by_adadelta,
    ),
    Entry(
        fo.adadelta,
        {"": {}, "mask": {"learning_rate": 0.1, **DECAYED}},
        bad=ranges(*RATE_RANGES, *ADADELTA_RANGES, ("weight_decay", -1.0, "[0, inf)")),
        oracle=oracles.adadelta,
    ),
)
