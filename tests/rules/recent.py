"""Elementwise and adaptive rules after Adam."""

import functional_optim as fo

from ..oracles import recent as oracles
from .table import RATE_RANGES, Bad, Entry, matrices, ranges

BETAS = (("b1", 1.0, "[0, 1)"), ("b2", -0.1, "[0, 1)"))
B3 = ("b3", 1.0, "[0, 1)")
EPS = ("eps", -1e-8, "[0, inf)")
EPS_ROOT = ("eps_root", -1.0, "[0, inf)")
DECAY = ("weight_decay", -1.0, "[0, inf)")
ALPHA = ("alpha", -1.0, "[0, inf)")
SHORT = {"b1": 0.75, "b2": 0.875}
"""Of 0.9 and 0.999 float32 holds 1 - b to some digits only; these are exact."""


def fifth_root(step):
    return step**0.2


def of_optimizer(*triples: tuple[str, float, str]) -> tuple[Bad, ...]:
    """What an optimizer refuses, whose first argument is its learning rate."""
    return ranges(*RATE_RANGES) + ranges(*triples, learning_rate=0.1)


MIX = (*BETAS, B3, ALPHA, EPS, EPS_ROOT)
MIX += (("b3_warmup", 0.0, "(0, inf)"), ("alpha_warmup", -1.0, "(0, inf)"))
ONE_MIX = (*BETAS, ALPHA, EPS, EPS_ROOT)
ONE_MIX += (("b1_warmup", 0.0, "(0, inf)"), ("min_b1", 1.0, "[0, 1)"))
INSTABILITY = ("eps_instability", -1.0, "[0, inf)")
CAME = (*BETAS, B3, EPS, INSTABILITY, ("clip_threshold", 0.0, "(0, inf)"))
BOUND = (*BETAS, EPS, ("final_learning_rate", -0.1, "[0, inf)"), ("gamma", 0.0, "(0, inf)"))
SPAM = (*BETAS, EPS, ("threshold", -1.0, "[0, inf)"), ("update_proj_gap", 0.5, "[1, inf)"))
SPAM += (("warmup_epoch", -1.0, "[0, inf)"), ("grad_accu_steps", -1.0, "[0, inf)"))
SOON = {**SHORT, "update_proj_gap": 7, "warmup_epoch": 4, "grad_accu_steps": 3, "threshold": 2.0}

RULES = (
    Entry(
        fo.scale_by_ademamix,
        {
            "": {**SHORT, "b3": 0.96875},
            "warmup": {**SHORT, "b3": 0.96875, "b3_warmup": 16.0, "alpha_warmup": 8.0},
            "from 0": {"b1": 0.0, "b2": 0.875, "b3": 0.75, "b3_warmup": 5.0, "eps_root": 1e-3},
        },
        bad=ranges(*MIX),
        oracle=oracles.scale_by_ademamix,
    ),
    Entry(
        fo.ademamix,
        {
            "": {"learning_rate": 1e-3, "b3": 0.96875},
            "decay": {"learning_rate": 1e-3, "b3": 0.96875, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*MIX, DECAY),
        oracle=oracles.ademamix,
    ),
    Entry(
        fo.scale_by_simplified_ademamix,
        {
            "": {"b1": 0.96875, "b2": 0.875, "alpha": 0.5},
            "warmup": {"b1": 0.96875, "b2": 0.875, "b1_warmup": 10.0, "min_b1": 0.5},
        },
        bad=ranges(*ONE_MIX),
        oracle=oracles.scale_by_simplified_ademamix,
    ),
    Entry(
        fo.simplified_ademamix,
        {
            "": {"learning_rate": 1e-4, "b1": 0.96875},
            "decay": {"learning_rate": 1e-4, "b1": 0.96875, "alpha": 2.0, "weight_decay": 0.1},
        },
        bad=of_optimizer(*ONE_MIX, DECAY),
        oracle=oracles.simplified_ademamix,
    ),
    Entry(
        fo.scale_by_adopt,
        {
            "": SHORT,
            "nesterov": {**SHORT, "nesterov": True},
            "unclipped": {**SHORT, "use_clipping": False},
            "bound": {**SHORT, "clip_value_fn": fifth_root},
        },
        bad=ranges(*BETAS, EPS),
        oracle=oracles.scale_by_adopt,
    ),
    Entry(
        fo.adopt,
        {
            "": {"learning_rate": 1e-3, "b2": 0.984375},
            "decay": {"learning_rate": 1e-3, **SHORT, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*BETAS, EPS, DECAY),
        oracle=oracles.adopt,
    ),
    Entry(
        fo.scale_by_laprop,
        {"": SHORT, "eps": {**SHORT, "eps": 0.1}},
        bad=ranges(*BETAS, EPS),
        oracle=oracles.scale_by_laprop,
    ),
    Entry(
        fo.laprop,
        {
            "": {"learning_rate": 1e-3},
            "decay": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*BETAS, EPS, DECAY),
        oracle=oracles.laprop,
    ),
    Entry(
        fo.scale_by_stable_adamw,
        {"": SHORT, "decay": {**SHORT, "weight_decay": 1e-3}},
        bad=ranges(*BETAS, EPS, DECAY),
        oracle=oracles.scale_by_stable_adamw,
    ),
    Entry(
        fo.stable_adamw,
        {
            "": {"learning_rate": 1e-3},
            "decay": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*BETAS, EPS, DECAY),
        oracle=oracles.stable_adamw,
    ),
    Entry(
        fo.scale_by_came,
        {
            "": {**SHORT, "b3": 0.96875},
            "loose": {**SHORT, "b3": 0.5, "clip_threshold": 10.0, "eps_instability": 1e-3},
        },
        bad=ranges(*CAME),
        oracle=oracles.scale_by_came,
    ),
    Entry(
        fo.came,
        {
            "": {"learning_rate": 1e-4, "b3": 0.984375},
            "decay": {
                "learning_rate": 1e-4,
                "b3": 0.984375,
                "weight_decay": 0.1,
                "mask": matrices,
            },
        },
        bad=of_optimizer(*CAME, DECAY),
        oracle=oracles.came,
    ),
    Entry(
        fo.scale_by_madgrad,
        # The sums are sums: their rounding grows with them, that of the other rules does not.
        {"": {"learning_rate": 1e-4}, "alone": {"learning_rate": 1e-4, "momentum": 0.0}},
        bad=of_optimizer(("momentum", 1.0, "[0, 1)"), EPS),
        oracle=oracles.scale_by_madgrad,
    ),
    Entry(
        fo.madgrad,
        {
            "": {"learning_rate": 1e-4},
            "decay": {"learning_rate": 1e-4, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(("momentum", 1.0, "[0, 1)"), EPS, DECAY),
        oracle=oracles.madgrad,
    ),
    Entry(
        fo.scale_by_adabound,
        {
            "": {"learning_rate": 1e-3, **SHORT},
            "bounded": {"learning_rate": 1e-2, **SHORT, "gamma": 0.5, "amsbound": True},
        },
        bad=of_optimizer(*BOUND),
        oracle=oracles.scale_by_adabound,
    ),
    Entry(
        fo.adabound,
        {"": {"learning_rate": 1e-3}, "decay": {"learning_rate": 1e-3, "weight_decay": 1e-3}},
        bad=of_optimizer(*BOUND, DECAY),
        oracle=oracles.adabound,
    ),
    Entry(
        fo.scale_by_acprop,
        # Where the mean meets the gradient, only eps is left: it must outweigh the rounding.
        {"": {**SHORT, "eps": 1e-3, "eps_root": 1e-2}},
        bad=ranges(*BETAS, EPS, EPS_ROOT),
        oracle=oracles.scale_by_acprop,
    ),
    Entry(
        fo.acprop,
        {
            "": {"learning_rate": 1e-3, "eps": 1e-3, "eps_root": 1e-4},
            "decay": {"learning_rate": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1},
        },
        bad=of_optimizer(*BETAS, EPS, EPS_ROOT, DECAY),
        oracle=oracles.acprop,
    ),
    Entry(
        fo.scale_by_spam,
        {"": SHORT, "soon": SOON},
        bad=ranges(*SPAM),
        oracle=oracles.scale_by_spam,
    ),
    Entry(
        fo.spam,
        {"": {"learning_rate": 1e-3}, "soon": {"learning_rate": 1e-3, **SOON, "weight_decay": 0.1}},
        bad=of_optimizer(*SPAM, DECAY),
        oracle=oracles.spam,
    ),
    Entry(
        fo.grokfast,
        {"": {}, "short": {"alpha": 0.75, "lamb": 1.0}},
        bad=ranges(("alpha", 1.0, "[0, 1)"), ("lamb", -1.0, "[0, inf)")),
        oracle=oracles.grokfast,
    ),
    Entry(
        fo.grokfast_ma,
        {
            "": {"window_size": 3},
            "sum": {"window_size": 4, "filter_type": "sum", "warmup": False},
            "mean": {"window_size": 4, "warmup": False},
        },
        bad=(
            *ranges(("lamb", -1.0, "[0, inf)")),
            ({"window_size": 0}, ValueError, "window_size must be at least 1, got 0"),
            ({"window_size": 2.0}, TypeError, "window_size must be an integer, got 2.0"),
            (
                {"filter_type": "median"},
                ValueError,
                "grokfast_ma: filter_type must be one of 'mean', 'sum', got 'median'",
            ),
        ),
        oracle=oracles.grokfast_ma,
    ),
)
