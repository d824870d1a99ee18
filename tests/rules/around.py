"""Links around the step, which measure, average or gather rather than decide a direction."""

import functional_optim as fo

from ..oracles import links as oracles
from .table import Entry, ranges

RULES = (
    Entry(
        fo.params_ema,
        {"": {"decay": 0.9}, "from-first": {"decay": 0.9, "debias": False, "every": 2}},
        bad=ranges(("decay", 1.0, "[0, 1)")),
        oracle=oracles.passes,
    ),
    Entry(
        fo.params_swa,
        {"": {}, "later": {"start": 3, "every": 2}},
        bad=ranges(("start", -1, "[0, inf)")),
        oracle=oracles.passes,
    ),
)
