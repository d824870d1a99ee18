"""SparseAdam, and the link that makes sparse updates dense; on dense updates."""

import functional_optim as fo

from ..oracles import sparse as oracles
from .table import RATE_RANGES, Entry, ranges

SPARSE_ADAM_RANGES = (("b1", 1.0, "[0, 1)"), ("b2", -0.1, "[0, 1)"), ("eps", 0.0, "(0, inf)"))

RULES = (
    Entry(fo.densify, {"": {}}),
    Entry(
        fo.scale_by_sparse_adam,
        {"": {}, "b1=0": {"b1": 0.0}},
        bad=ranges(*SPARSE_ADAM_RANGES),
        oracle=oracles.scale_by_sparse_adam,
    ),
    Entry(
        fo.sparse_adam,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES) + ranges(*SPARSE_ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.sparse_adam,
    ),
)
