"""Optimizers whose moments are those of projections."""

import functional_optim as fo

from ..oracles import low_rank as oracles
from .table import RATE_RANGES, Entry, ranges

BAD_GALORE = (
    ({"rank": 2.0}, TypeError, "galore: rank must be an integer, got 2.0"),
    ({"rank": 0}, ValueError, "galore: rank must be at least 1, got 0"),
    ({"update_proj_gap": 0}, ValueError, "galore: update_proj_gap must be at least 1"),
    ({"side": "left"}, ValueError, "galore: side must be one of 'longer', 'shorter'"),
    ({"base_optimizer": 3}, TypeError, "galore: base_optimizer must be a pair of"),
)
APOLLO = (
    ("update_proj_gap", 0, "[1, inf)"),
    ("scale", -1.0, "[0, inf)"),
    ("b1", 1.0, "[0, 1)"),
    ("b2", 1.0, "[0, 1)"),
    ("eps", -1.0, "[0, inf)"),
    ("growth_limit", 0.5, "[1, inf)"),
)
BAD_RANK = ({"rank": 1.5}, TypeError, "apollo: rank must be an integer, got 1.5")


def with_rate(bad):
    return tuple(({"learning_rate": 0.1, **arguments}, *rest) for arguments, *rest in bad)


RULES = (
    Entry(
        fo.scale_by_galore,
        {
            "": {"rank": 2, "update_proj_gap": 8},
            "shorter": {"rank": 2, "update_proj_gap": 7, "side": "shorter", "scale": 0.25},
            "full": {},
        },
        bad=BAD_GALORE,
        oracle=oracles.scale_by_galore,
    ),
    Entry(
        fo.galore,
        {"": {"learning_rate": 1e-3, "rank": 1, "update_proj_gap": 8, "weight_decay": 0.1}},
        bad=(*with_rate(BAD_GALORE), *ranges(*RATE_RANGES)),
        oracle=oracles.galore,
    ),
    Entry(
        fo.scale_by_apollo,
        {
            "": {"rank": 2, "update_proj_gap": 8, "b2": 0.875},
            "tensor": {"rank": 1, "tensor_wise": True, "scale": 4.0, "key": 7, "b2": 0.875},
            "free": {"rank": 2, "growth_limit": None, "b1": 0.5, "b2": 0.875},
        },
        bad=(
            BAD_RANK,
            ({"key": None}, TypeError, "scale_by_apollo: key must be an integer or a key of"),
            *ranges(*APOLLO),
        ),
        oracle=oracles.scale_by_apollo,
        drift=4e-6,
    ),
    Entry(
        fo.apollo,
        {
            "": {"learning_rate": 1e-3, "rank": 2, "weight_decay": 0.1, "b2": 0.875},
            "others": {
                "learning_rate": 1e-3,
                "rank": 2,
                "b2": 0.875,
                "adam_weight_decay": 0.1,
                "adam_learning_rate": 5e-3,
            },
        },
        bad=(*with_rate((BAD_RANK,)), *ranges(*RATE_RANGES), *ranges(*APOLLO, learning_rate=0.1)),
        oracle=oracles.apollo,
        drift=4e-6,
    ),
    Entry(
        fo.apollo_mini,
        {"": {"learning_rate": 1e-4, "b2": 0.875}},
        bad=(*ranges(*RATE_RANGES), *ranges(*APOLLO, learning_rate=0.1)),
        oracle=oracles.apollo_mini,
        drift=4e-6,
    ),
)
