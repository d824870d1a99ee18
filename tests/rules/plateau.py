"""Links that follow a metric."""

import functional_optim as fo

from .table import Entry, ranges

RULES = (
    Entry(
        fo.reduce_on_plateau,
        {"": {}, "quick": {"factor": 0.5, "patience": 1, "mode": "max"}},
        bad=(
            *ranges(
                ("factor", 1.0, "(0, 1)"),
                ("factor", 0.0, "(0, 1)"),
                ("patience", 0, "[1, inf)"),
                ("rtol", 1.5, "[0, 1]"),
                ("atol", -1.0, "[0, inf)"),
                ("cooldown", -1, "[0, inf)"),
                ("accumulation_size", 0, "[1, inf)"),
                ("min_scale", -0.1, "[0, 1]"),
            ),
            ({"mode": "mean"}, ValueError, "mode must be one of 'min', 'max', got 'mean'"),
        ),
        extra={"value": 1.0},
    ),
)
