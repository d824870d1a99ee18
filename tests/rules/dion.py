"""Dion and Dion2."""

import functional_optim as fo

from ..oracles import dion as oracles
from .table import RATE_RANGES, Entry, ranges

BETA = ("beta", 1.5, "[0, 1]")
EPS = ("eps", -1.0, "[0, inf)")
RANKS = (
    ({"rank_fraction": 0.0}, ValueError, r"rank_fraction must be in \(0, 1\], got 0.0"),
    ({"rank_fraction": True}, ValueError, r"rank_fraction must be in \(0, 1\], got True"),
    ({"rank_multiple_of": 0}, ValueError, "rank_multiple_of must be an integer from 1, got 0"),
    ({"qr_method": "cqr"}, ValueError, "qr_method must be 'qr' or 'rcqr', got 'cqr'"),
)
FRACTIONS = (
    ({"fraction": 1.5}, ValueError, r"dion2: fraction must be in \(0, 1\], got 1.5"),
    ({"ns_steps": 2}, ValueError, "has more triples than ns_steps=2"),
)
KEY = ({"key": 1.5}, TypeError, "key must be an integer or a key of jax.random.key, got 1.5")


STACKED = {"traces": "the leaves of one shape are stacked, between other links"}


def of_optimizer(bad):
    return tuple(({"learning_rate": 0.1, **arguments}, *rest) for arguments, *rest in bad)


# Where a value of M Q is small, a column of P has the rounding of large ones. The first rounds of
# Polar Express multiply small singular values, and their errors, by 8 and 4.
RULES = (
    Entry(
        fo.scale_by_dion,
        {
            "": {"rank_fraction": 0.5},
            "whole": {"beta": 0.5},
            "one": {"rank_fraction": 0.1, "beta": 0.75},
            "random": {"rank_fraction": 0.5, "qr_method": "rcqr"},
        },
        bad=(*ranges(BETA, EPS), *RANKS, KEY),
        oracle=oracles.scale_by_dion,
        drift=5e-6,
    ),
    Entry(
        fo.dion,
        {
            "": {"learning_rate": 1e-3},
            "low": {
                "learning_rate": 1e-3,
                "rank_fraction": 0.25,
                "rank_multiple_of": 2,
                "weight_decay": 0.1,
                "adam_b1": 0.5,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(BETA, EPS, ("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
            *of_optimizer((*RANKS, KEY)),
        ),
        oracle=oracles.dion,
        leave_out=STACKED,
    ),
    Entry(
        fo.scale_by_dion2,
        {
            "": {},
            "half": {"fraction": 0.5, "beta": 0.75},
            "whole": {"fraction": 1.0, "ns_coeffs": (1.5, -0.5, 0.0)},
        },
        bad=(*ranges(BETA, EPS), *FRACTIONS),
        oracle=oracles.scale_by_dion2,
        drift=1e-5,
    ),
    Entry(
        fo.dion2,
        {
            "": {"learning_rate": 1e-3},
            "rms": {
                "learning_rate": 1e-3,
                "fraction": 0.5,
                "weight_decay": 0.1,
                "consistent_rms": 0.2,
                "adam_b1": 0.5,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(BETA, EPS, ("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
            *of_optimizer(FRACTIONS),
        ),
        oracle=oracles.dion2,
        leave_out=STACKED,
        drift=2e-6,
    ),
)
