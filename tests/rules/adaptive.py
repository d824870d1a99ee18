"""AdaBelief, Yogi, NovoGrad, Adan."""

import functional_optim as fo

from ..oracles import adaptive as oracles
from .table import RATE_RANGES, Entry, matrices, ranges

BETAS = (("b1", 1.0, "[0, 1)"), ("b2", -0.1, "[0, 1)"))
EPS = (("eps", -1e-8, "[0, inf)"), ("eps_root", -1.0, "[0, inf)"))
DECAY = (("weight_decay", -1.0, "[0, inf)"),)

RULES = (
    Entry(
        fo.scale_by_belief,
        # At a surprise of 0 only eps is left: it must outweigh the rounding of the difference.
        {
            "": {"b1": 0.875, "b2": 0.875, "eps": 1e-3, "eps_root": 1e-2},
            "nesterov": {"b1": 0.875, "b2": 0.875, "eps": 1e-3, "eps_root": 1e-2, "nesterov": True},
        },
        bad=ranges(*BETAS, *EPS),
        oracle=oracles.scale_by_belief,
    ),
    Entry(
        fo.adabelief,
        {
            "": {"learning_rate": 1e-3, "eps": 1e-3, "eps_root": 1e-4},
            "decay": {
                "learning_rate": 1e-3,
                "eps": 1e-3,
                "eps_root": 1e-4,
                "weight_decay": 0.1,
            },
        },
        bad=ranges(*RATE_RANGES) + ranges(*BETAS, *EPS, *DECAY, learning_rate=0.1),
        oracle=oracles.adabelief,
    ),
    Entry(
        fo.scale_by_yogi,
        # 1 - b2 is exact: of 0.999, float32 holds it to five digits only.
        {"": {"b2": 0.984375}, "from 0": {"initial_accumulator_value": 0.0, "b2": 0.875}},
        bad=ranges(*BETAS, *EPS, ("initial_accumulator_value", -1.0, "[0, inf)")),
        oracle=oracles.scale_by_yogi,
    ),
    Entry(
        fo.yogi,
        {"": {"learning_rate": 1e-3, "b2": 0.984375}},
        bad=ranges(*RATE_RANGES) + ranges(*BETAS, *EPS, learning_rate=0.1),
        oracle=oracles.yogi,
    ),
    Entry(
        fo.scale_by_novograd,
        {"": {}, "decay": {"weight_decay": 1e-6, "eps_root": 1e-3}},
        bad=ranges(*BETAS, *EPS, *DECAY),
        oracle=oracles.scale_by_novograd,
    ),
    Entry(
        fo.novograd,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES) + ranges(*BETAS, *EPS, *DECAY, learning_rate=0.1),
        oracle=oracles.novograd,
    ),
    Entry(
        fo.scale_by_adan,
        {"": {}, "b1=0": {"b1": 0.0, "b2": 0.5}},
        bad=ranges(*BETAS, ("b3", 1.0, "[0, 1)"), *EPS),
        oracle=oracles.scale_by_adan,
    ),
    Entry(
        fo.adan,
        {
            "": {"learning_rate": 1e-3},
            "mask": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=ranges(*RATE_RANGES)
        + ranges(*BETAS, ("b3", 1.0, "[0, 1)"), *EPS, *DECAY, learning_rate=0.1),
        oracle=oracles.adan,
    ),
    Entry(
        fo.scale_by_sm3,
        {"": {}, "decay": {"b1": 0.5, "b2": 0.875}},
        bad=ranges(("b1", 1.0, "[0, 1)"), ("b2", 1.5, "[0, 1]"), ("eps", -1.0, "[0, inf)")),
        oracle=oracles.scale_by_sm3,
    ),
    Entry(
        fo.sm3,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.sm3,
    ),
    Entry(
        fo.scale_by_distance_over_gradients,
        {"": {"reps_rel": 1e-3, "global_scale": 0.125}},
        bad=ranges(("reps_rel", -1.0, "[0, inf)"), ("eps", -1.0, "[0, inf)")),
        oracle=oracles.scale_by_distance_over_gradients,
    ),
)
