"""Algorithms that estimate their step size: Prodigy, D-Adaptation, DoG, Mechanic, MoMo, COCOB."""

import functional_optim as fo

from ..oracles import learning_rate_free as oracles
from .table import RATE_RANGES, Entry, ranges

DECAY = (("weight_decay", -1.0, "[0, inf)"),)
EPS = (("eps", -1.0, "[0, inf)"),)
POSITIVE_EPS = (("eps", 0.0, "(0, inf)"),)
ESTIMATE = (("estim_lr0", 0.0, "(0, inf)"), ("growth_rate", 0.5, "[1, inf)"))
NO_PAIR = "betas must be a pair of numbers, got"
BETAS = (
    ({"betas": (1.0, 0.9)}, ValueError, r": betas\[0\] must be in \[0, 1\), got 1.0"),
    ({"betas": (0.9, -1.0)}, ValueError, r": betas\[1\] must be in \[0, 1\), got -1.0"),
)
# Of 0.999 float32 holds 1 - b2 to five digits only.
# Where estimates grow with noise, so do differences.
EXACT = {"betas": (0.875, 0.984375), "estim_lr0": 0.0078125}

RULES = (
    Entry(
        fo.prodigy,
        {
            "": EXACT,
            "corrected": {
                **EXACT,
                "learning_rate": 0.5,
                "weight_decay": 0.125,
                "beta3": 0.875,
                "estim_lr_coef": 2.0,
                "bias_correction": True,
            },
            "guarded": {**EXACT, "safeguard_warmup": True, "growth_rate": 1.0625},
        },
        bad=(
            *ranges(*RATE_RANGES, *DECAY, *EPS, *ESTIMATE),
            *ranges(("beta3", 1.0, "[0, 1)"), ("estim_lr_coef", 0.0, "(0, inf)")),
            *BETAS,
            ({"betas": 0.9}, TypeError, f"prodigy: {NO_PAIR} 0.9"),
        ),
        oracle=oracles.prodigy,
        drift=1e-5,
    ),
    Entry(
        fo.dadapt_adamw,
        {
            "": EXACT,
            "corrected": {
                **EXACT,
                "weight_decay": 0.125,
                "bias_correction": True,
                "growth_rate": 1.0625,
            },
        },
        bad=(
            *ranges(*RATE_RANGES, *DECAY, *POSITIVE_EPS, *ESTIMATE),
            *BETAS,
            ({"betas": 0.9}, TypeError, f"dadapt_adamw: {NO_PAIR} 0.9"),
        ),
        oracle=oracles.dadapt_adamw,
        drift=2e-6,
    ),
    Entry(
        fo.dadapt_sgd,
        {
            "": {"estim_lr0": 0.0078125},
            "momentum": {
                "momentum": 0.875,
                "weight_decay": 0.125,
                "estim_lr0": 0.0078125,
                "growth_rate": 1.0625,
            },
        },
        bad=ranges(*RATE_RANGES, ("momentum", 1.0, "[0, 1)"), *DECAY, *ESTIMATE),
        oracle=oracles.dadapt_sgd,
        drift=4e-6,
    ),
    Entry(
        fo.scale_by_dog,
        {
            "": {"init_value": 0.0078125},
            "distance": {"init_value": 0.125, "eps": 0.5, "init_kind": "distance"},
            "learning_rate": {"init_value": 0.125, "init_kind": "learning_rate"},
        },
        bad=(
            *ranges(("init_value", 0.0, "(0, inf)"), *EPS),
            ({"init_kind": "way"}, ValueError, "init_kind must be one of heuristic, .*'way'"),
        ),
        oracle=oracles.scale_by_dog,
        drift=2e-6,
    ),
    Entry(
        fo.dog,
        {
            "": {},
            "decay": {"init_step": ("distance", 0.0078125), "weight_decay": 0.125},
        },
        bad=(
            *ranges(*RATE_RANGES, *EPS, *DECAY),
            ({"init_step": 1e-6}, TypeError, "dog: init_step must be a pair of a kind and a num"),
            ({"init_step": ("way", 1.0)}, ValueError, r"init_step\[0\] must be one of heurist"),
            ({"init_step": ("distance", 0.0)}, ValueError, r"init_step\[1\] must be in \(0, inf"),
        ),
        oracle=oracles.dog,
        drift=2e-6,
    ),
    Entry(
        fo.ldog,
        {"": {"reps_rel": 0.0078125}, "decay": {"learning_rate": 0.5, "weight_decay": 0.125}},
        bad=ranges(*RATE_RANGES, *EPS, *DECAY, ("reps_rel", -1.0, "[0, inf)")),
        oracle=oracles.ldog,
        drift=2e-6,
    ),
    Entry(
        fo.scale_by_dowg,
        {"": {}, "distance": {"init_estim_sq_dist": 0.125, "eps": 0.5}},
        bad=ranges(("init_estim_sq_dist", 0.0, "(0, inf)"), *POSITIVE_EPS),
        oracle=oracles.scale_by_dowg,
        drift=1e-5,
    ),
    Entry(
        fo.dowg,
        {"": {}, "decay": {"init_estim_sq_dist": 0.125, "weight_decay": 0.125}},
        bad=ranges(*RATE_RANGES, *DECAY, ("init_estim_sq_dist", 0.0, "(0, inf)"), *POSITIVE_EPS),
        oracle=oracles.dowg,
        drift=1e-5,
    ),
    Entry(
        fo.mechanize,
        {
            "": {"base_optimizer": fo.sgd(1.0), "s_init": 0.0078125},
            "no decay": {
                "base_optimizer": fo.sgd(1.0),
                "weight_decay": 0.0,
                "s_init": 0.0078125,
                "num_betas": 2,
            },
        },
        bad=(
            *ranges(*DECAY, *POSITIVE_EPS, ("s_init", 0.0, "(0, inf)"), base_optimizer=fo.sgd(1.0)),
            ({"base_optimizer": 3}, TypeError, "mechanize: base_optimizer must be a pair of fun"),
            (
                {"base_optimizer": fo.sgd(1.0), "num_betas": 0},
                ValueError,
                "mechanize: num_betas must be at least 1, got 0",
            ),
        ),
        oracle=oracles.mechanize,
        drift=2e-6,
    ),
    Entry(
        fo.momo,
        {
            "": {"lower_bound": -1.0},
            "adapted": {
                "weight_decay": 0.125,
                "adapt_lower_bound": True,
                "bias_correction": True,
            },
        },
        bad=ranges(*RATE_RANGES, *DECAY, ("beta", 1.0, "[0, 1)")),
        extra={"value": 1.0},
    ),
    Entry(
        fo.momo_adam,
        {
            "": {"lower_bound": -1.0},
            "adapted": {"weight_decay": 0.125, "adapt_lower_bound": True, "divide": False},
        },
        bad=ranges(*RATE_RANGES, *DECAY, *EPS, ("b1", 1.0, "[0, 1)"), ("b2", 1.0, "[0, 1)")),
        extra={"value": 1.0},
    ),
    Entry(
        fo.scale_by_cocob,
        {"": {}, "bold": {"alpha": 1.0, "eps": 0.125}},
        bad=ranges(("alpha", -1.0, "[0, inf)"), *POSITIVE_EPS),
        oracle=oracles.scale_by_cocob,
        drift=2e-6,
    ),
    Entry(
        fo.cocob,
        {"": {}, "decay": {"learning_rate": 0.5, "weight_decay": 0.125}},
        bad=ranges(*RATE_RANGES, *DECAY, ("alpha", -1.0, "[0, inf)"), *POSITIVE_EPS),
        oracle=oracles.cocob,
        drift=2e-6,
    ),
)
