"""Adam and its relatives."""

import functional_optim as fo

from ..oracles import adam as oracles
from .table import RATE_RANGES, Entry, matrices, ranges

ADAM_RANGES = (
    ("b1", 1.2, "[0, 1)"),
    ("b1", 1.0, "[0, 1)"),
    ("b2", -0.1, "[0, 1)"),
    ("eps", -1e-8, "[0, inf)"),
    ("eps_root", -1.0, "[0, inf)"),
)
WITHOUT_NESTEROV = (
    {"momentum_decay": 0.004},
    ValueError,
    "scale_by_adam: momentum_decay must be None without nesterov, got 0.004",
)

SWITCHES = (
    ({"nesterov": 0.9}, TypeError, "scale_by_adam: nesterov must be True or False, got 0.9"),
    ({"mu_dtype": "narrow"}, TypeError, "mu_dtype must be a floating-point dtype, got 'narrow'"),
    ({"mu_dtype": int}, TypeError, "mu_dtype must be a floating-point dtype, got int"),
)

RULES = (
    Entry(
        fo.scale_by_adam,
        {
            "": {},
            "b1=0": {"b1": 0.0},
            "nesterov": {"nesterov": True},
            "amsgrad": {"amsgrad": True},
            "nesterov-amsgrad": {"nesterov": True, "amsgrad": True, "b2": 0.9},
            "eps_root": {"eps_root": 1e-3, "eps": 1e-2},
            "momentum_decay": {"nesterov": True, "momentum_decay": 0.1},
        },
        bad=ranges(*ADAM_RANGES)
        + ranges(("momentum_decay", -0.1, "[0, inf)"), nesterov=True)
        + (WITHOUT_NESTEROV, *SWITCHES),
        oracle=oracles.scale_by_adam,
    ),
    Entry(
        fo.adam,
        {
            "": {"learning_rate": 1e-3},
            "nesterov": {"learning_rate": 1e-3, "nesterov": True},
            "amsgrad": {"learning_rate": 1e-3, "amsgrad": True, "b2": 0.99},
        },
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.adam,
    ),
    Entry(
        fo.adamw,
        {
            "": {"learning_rate": 1e-3},
            "mask": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=ranges(*RATE_RANGES) + ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.adamw,
    ),
    Entry(
        fo.nadam,
        {
            "": {"learning_rate": 1e-3},
            "torch": {"learning_rate": 1e-3, "momentum_decay": 4e-3},
        },
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.nadam,
    ),
    Entry(
        fo.nadamw,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES) + ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
        oracle=oracles.nadamw,
    ),
    Entry(
        fo.scale_by_amsgrad,
        {
            "": {},
            "biased": {
                "b2": 0.875,
                "eps": 1e-2,
                "eps_root": 1e-3,
                "bias_correction_mu": False,
                "bias_correction_nu": False,
            },
        },
        bad=ranges(*ADAM_RANGES),
        oracle=oracles.scale_by_amsgrad,
    ),
    Entry(
        fo.amsgrad,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.amsgrad,
    ),
)
