"""Schedule-Free and generalized primal averaging."""

import functional_optim as fo

from ..oracles import schedule_free as oracles
from .table import RATE_RANGES, Entry, ranges

WEIGHTS = (
    ("b1", 0.0, "(0, 1]"),
    ("b1", 1.5, "(0, 1]"),
    ("weight_lr_power", -1.0, "[0, inf)"),
    ("r", -1.0, "[0, inf)"),
)
WARMUP = (("warmup_steps", -1.0, "[0, inf)"),)
DECAY = (("weight_decay", -1.0, "[0, inf)"),)
SGD = {"base_optimizer": fo.sgd(0.125), "learning_rate": 0.125}

RULES = (
    Entry(
        fo.schedule_free,
        {"": {**SGD, "b1": 0.875}, "powers": {**SGD, "b1": 0.5, "r": 1.0, "weight_lr_power": 0.0}},
        bad=(
            ({**SGD, "base_optimizer": 3}, TypeError, "base_optimizer must be a pair of functions"),
            *ranges(*RATE_RANGES, base_optimizer=fo.sgd(0.1)),
            *ranges(*WEIGHTS, **SGD),
        ),
        oracle=oracles.schedule_free,
        drift=2e-6,
    ),
    Entry(
        fo.schedule_free_sgd,
        {
            "": {"learning_rate": 0.125, "b1": 0.875},
            "warmup": {
                "learning_rate": 0.125,
                "warmup_steps": 4,
                "b1": 0.875,
                "weight_decay": 0.125,
                "r": 1.0,
            },
            "from zero": {
                "learning_rate": 0.125,
                "warmup_steps": 4,
                "b1": 0.875,
                "warmup_from_zero": True,
            },
        },
        bad=ranges(*RATE_RANGES, *WEIGHTS, *WARMUP, *DECAY),
        oracle=oracles.schedule_free_sgd,
        drift=2e-6,
    ),
    Entry(
        fo.schedule_free_adamw,
        {
            "": {"b1": 0.875, "b2": 0.984375},
            "warmup": {
                "warmup_steps": 4,
                "b1": 0.875,
                "b2": 0.984375,
                "weight_decay": 0.125,
                "inner_momentum": 0.5,
                "r": 0.5,
            },
        },
        bad=ranges(
            *RATE_RANGES,
            *WEIGHTS,
            *WARMUP,
            *DECAY,
            ("eps", -1.0, "[0, inf)"),
        )
        + ranges(("b2", 1.5, "[0, 1]"))
        + ranges(("b2", 1.0, "[0, 1)"), inner_momentum=0.5)
        + ranges(("inner_momentum", 1.0, "[0, 1)")),
        oracle=oracles.schedule_free_adamw,
        drift=2e-6,
    ),
    Entry(
        fo.schedule_free_radam,
        {
            "": {"b1": 0.875, "b2": 0.984375},
            "sgd phase": {
                "b1": 0.875,
                "b2": 0.984375,
                "weight_decay": 0.125,
                "silent_sgd_phase": False,
            },
        },
        bad=ranges(
            *RATE_RANGES, *WEIGHTS, *DECAY, ("eps", -1.0, "[0, inf)"), ("b2", 1.0, "[0, 1)")
        ),
        oracle=oracles.schedule_free_radam,
        drift=2e-6,
    ),
    Entry(
        fo.generalized_primal_averaging,
        {
            "": {
                "base_optimizer": fo.sgd(0.125),
                "train_interp_coeff": 0.75,
                "eval_interp_coeff": 0.984375,
            },
            "shrinking": {
                "base_optimizer": fo.sgd(0.125),
                "train_interp_coeff": 0.75,
                "eval_interp_coeff": 0.75,
                "shrinkage": 0.125,
            },
        },
        bad=ranges(
            ("train_interp_coeff", 0.0, "(0, 1]"),
            ("eval_interp_coeff", 1.5, "[0, 1]"),
            ("shrinkage", 1.5, "[0, 1]"),
            base_optimizer=fo.sgd(0.1),
        ),
        oracle=oracles.generalized_primal_averaging,
        drift=2e-6,
    ),
)
