"""Scion."""

import functional_optim as fo

from ..oracles import scion as oracles
from .table import RATE_RANGES, Entry, ranges

ALPHA = ("alpha", 1.5, "[0, 1]")
BAD = (
    ({"norms": {"hidden": "nuclear"}}, ValueError, r"norms\['hidden'\] must be one of 'spectral'"),
    ({"ns_steps": 100}, ValueError, "scion: ns_steps must be an integer from 0"),
    ({"radius": -1.0}, ValueError, r"scion: radius must be in \[0, inf\), got -1.0"),
    (
        {"radius": {"head": -1.0}},
        ValueError,
        r"scion: radius of 'head' must be in \[0, inf\), got -1.0",
    ),
)

RULES = (
    Entry(
        fo.scale_by_scion,
        {
            "": {"radius": 1.0},
            "sign": {
                "radius": {"hidden": 2.0, "vector": 0.5},
                "alpha": 1.0,
                "norms": {"hidden": "sign"},
            },
            "columns": {"radius": 1.0, "alpha": 0.25, "norms": {"hidden": "col_norm"}},
            "rows": {
                "radius": 1.0,
                "norms": {"hidden": fo.ScionNorm("row_norm", normalized=False)},
            },
        },
        bad=(*ranges(ALPHA), *BAD),
        oracle=oracles.scale_by_scion,
    ),
    Entry(
        fo.scion,
        {
            "": {"learning_rate": 1e-3},
            "unconstrained": {
                "learning_rate": 1e-3,
                "radius": 1.0,
                "alpha": 0.5,
                "constrained": False,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(ALPHA, learning_rate=0.1),
            *(({"learning_rate": 0.1, **arguments}, *rest) for arguments, *rest in BAD),
        ),
        oracle=oracles.scion,
    ),
)
