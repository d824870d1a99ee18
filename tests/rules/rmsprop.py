"""RMSprop."""

import functional_optim as fo

from ..oracles import rmsprop as oracles
from .table import RATE_RANGES, Entry, ranges

RMS_RANGES = (
    ("decay", 1.5, "[0, 1]"),
    ("eps", -1.0, "[0, inf)"),
    ("initial_scale", -1.0, "[0, inf)"),
)

RULES = (
    Entry(
        fo.scale_by_rms,
        {
            "": {},
            "centered": {"centered": True, "eps": 1e-2},
            "torch": {"eps_in_sqrt": False, "decay": 0.99},
            "bias_correction": {"bias_correction": True, "decay": 0.99},
            # A variance of 0 is a difference of equal squares: eps must outweigh its rounding.
            "centered-bias_correction": {"bias_correction": True, "centered": True, "eps": 0.5},
            "initial_scale": {"initial_scale": 1.0},
        },
        bad=ranges(*RMS_RANGES),
        oracle=oracles.scale_by_rms,
    ),
    Entry(
        fo.scale_by_stddev,
        {"": {"eps": 1e-2}, "initial_scale": {"eps": 1e-2, "initial_scale": 1.0}},
        bad=ranges(*RMS_RANGES),
        oracle=oracles.scale_by_stddev,
    ),
    Entry(
        fo.rmsprop,
        {
            "": {"learning_rate": 1e-3},
            "momentum": {"learning_rate": 1e-3, "momentum": 0.9},
            "torch": {
                "learning_rate": 1e-3,
                "decay": 0.99,
                "eps": 1e-2,
                "eps_in_sqrt": False,
                "centered": True,
                "momentum": 0.9,
                "nesterov": True,
            },
        },
        bad=ranges(*RATE_RANGES) + ranges(*RMS_RANGES, learning_rate=0.1),
        oracle=oracles.rmsprop,
    ),
)
