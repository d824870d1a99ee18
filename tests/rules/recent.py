"""Elementwise and adaptive rules after Adam."""

import jax
import jax.numpy as jnp

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
    """Returns bad arguments of an optimizer whose first argument is the learning rate."""
    return ranges(*RATE_RANGES) + ranges(*triples, learning_rate=0.1)


def logits_of_two_heads(grads, params):
    return {"attention_logits": jax.tree.map(lambda p: jnp.array([5.0, 40.0]), params)}


MIX = (*BETAS, B3, ALPHA, EPS, EPS_ROOT)
MIX += (("b3_warmup", 0.0, "(0, inf)"), ("alpha_warmup", -1.0, "(0, inf)"))
ONE_MIX = (*BETAS, ALPHA, EPS, EPS_ROOT)
ONE_MIX += (("b1_warmup", 0.0, "(0, inf)"), ("min_b1", 1.0, "[0, 1)"))
INSTABILITY = ("eps_instability", -1.0, "[0, inf)")
CAME = (*BETAS, B3, EPS, INSTABILITY, ("clip_threshold", 0.0, "(0, inf)"))
BOUND = (*BETAS, EPS, ("final_learning_rate", -0.1, "[0, inf)"), ("gamma", 0.0, "(0, inf)"))
SPAM = (*BETAS, EPS, ("threshold", -1.0, "[0, inf)"), ("delta_t", 0.5, "[1, inf)"))
SPAM += (("warmup_steps", -1.0, "[0, inf)"), ("grad_accu_steps", -1.0, "[0, inf)"))
SOON = {**SHORT, "delta_t": 7, "warmup_steps": 4, "grad_accu_steps": 3, "threshold": 2.0}

MARS = (*BETAS, EPS, ("gamma", -1.0, "[0, inf)"))
MARS_SHORT = {**SHORT, "gamma": 0.125}
MARS_BASE = (
    {"base": "muon"},
    ValueError,
    "base must be one of 'adamw', 'lion', 'shampoo', got 'muon'",
)
RADIUS = ("radius", -1.0, "[0, inf)")

SOPHIA = (
    *BETAS,
    ("eps", 0.0, "(0, inf)"),
    ("gamma", -1.0, "[0, inf)"),
    ("clip_threshold", 0.0, "(0, inf)"),
    ("update_interval", 0, "[1, inf)"),
)

ESTIMATED = {
    "traces": "it differentiates the whole loss",
    "none_gradients": "the estimate is of all parameters, whatever the gradients",
}


def bowl(grads, params):
    """Provides a loss, whose Hessian is estimated."""

    def obj_fn(x):
        return sum((jnp.sum(jnp.square(jnp.abs(p))) for p in jax.tree.leaves(x)), start=0.0)

    return {"obj_fn": obj_fn}


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
        # Sums of all gradients are rounded as they grow: with small rates they stay small.
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
    Entry(
        fo.scale_by_adam_mini,
        {
            "": SHORT,
            "columns": {**SHORT, "blocks": (-1,)},
            "elements": {**SHORT, "blocks": None},
        },
        bad=(
            *ranges(*BETAS, EPS),
            ({"blocks": "rows"}, ValueError, "blocks must be None or a tuple of axes, or of pairs"),
            ({"blocks": ((0, 0),)}, ValueError, "blocks must be None or a tuple of axes"),
        ),
        oracle=oracles.scale_by_adam_mini,
    ),
    Entry(
        fo.adam_mini,
        {
            "": {"learning_rate": 1e-3},
            "labels": {
                "learning_rate": 1e-3,
                "blocks": {"matrix": (0,), "rest": None},
                "param_labels": {"w": "matrix", "b": "rest"},
                "weight_decay": 0.1,
            },
        },
        bad=(
            *of_optimizer(*BETAS, EPS, DECAY),
            (
                {"learning_rate": 0.1, "blocks": {"a": ()}},
                ValueError,
                "adam_mini: blocks by label and param_labels go together",
            ),
            (
                {"learning_rate": 0.1, "param_labels": "a"},
                ValueError,
                "adam_mini: blocks by label and param_labels go together",
            ),
        ),
        oracle=oracles.adam_mini,
    ),
    Entry(
        fo.scale_by_mars,
        {
            "": MARS_SHORT,
            "lion": {**MARS_SHORT, "base": "lion"},
            "shampoo": {**MARS_SHORT, "base": "shampoo"},
        },
        bad=(*ranges(*MARS), MARS_BASE),
        oracle=oracles.scale_by_mars,
    ),
    Entry(
        fo.scale_by_mars,
        {"exact": {**MARS_SHORT, "approximate": False}},
        extra=lambda grads, params: {"previous_grad": grads},
    ),
    Entry(
        fo.mars,
        {
            "": {"learning_rate": 1e-3},
            "lion": {"learning_rate": 1e-4, "base": "lion", "weight_decay": 0.1},
            "shampoo": {"learning_rate": 1e-3, "base": "shampoo"},
            "all": {"learning_rate": 1e-3, "optimize_1d": True},
        },
        bad=(
            *of_optimizer(*MARS, DECAY),
            ({"learning_rate": 0.1, **MARS_BASE[0]}, *MARS_BASE[1:]),
            (
                {"learning_rate": 0.1, "optimize_1d": True, "adam_learning_rate": 0.1},
                ValueError,
                "mars: adam_learning_rate=0.1 has no effect with optimize_1d=True",
            ),
        ),
        oracle=oracles.mars,
    ),
    Entry(
        fo.mars,
        {"exact": {"learning_rate": 1e-3, "approximate": False}},
        extra=lambda grads, params: {"previous_grad": grads},
    ),
    Entry(
        fo.cautious,
        {
            "": {"inner": fo.adam(1e-3)},
            "direction": {"inner": fo.scale_by_adam(), "flip_sign": False},
        },
        bad=(
            ({"inner": 3}, TypeError, "must be a pair of functions"),
            *ranges(("min_fraction", 0.0, "(0, 1]"), inner=fo.sgd(0.1)),
        ),
    ),
    Entry(
        fo.cautious_adamw,
        {
            "": {"learning_rate": 1e-3},
            "decay": {"learning_rate": 1e-3, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*BETAS, EPS, EPS_ROOT, DECAY, ("min_fraction", 2.0, "(0, 1]")),
        oracle=oracles.cautious_adamw,
    ),
    Entry(
        fo.cautious_lion,
        {
            "": {"learning_rate": 1e-4},
            "decay": {"learning_rate": 1e-4, "weight_decay": 0.1, "mask": matrices},
        },
        bad=of_optimizer(*BETAS, DECAY, ("min_fraction", 2.0, "(0, 1]")),
        oracle=oracles.cautious_lion,
    ),
    Entry(
        fo.cautious_weight_decay,
        {"": {"weight_decay": 1e-3}},
        bad=ranges(DECAY),
        oracle=oracles.cautious_weight_decay,
    ),
    Entry(
        fo.hypergradient,
        {"": {"inner": fo.scale_by_adam(), "learning_rate": 1e-3, "hypergrad_lr": 1e-5}},
        bad=(
            ({"inner": 3, "learning_rate": 0.1}, TypeError, "must be a pair of functions"),
            *ranges(("learning_rate", -0.1, "[0, inf)"), inner=fo.identity()),
            *ranges(("hypergrad_lr", -0.1, "[0, inf)"), inner=fo.identity(), learning_rate=0.1),
        ),
    ),
    Entry(
        fo.sgd_hd,
        {
            "": {"learning_rate": 1e-3},
            "momentum": {
                "learning_rate": 1e-3,
                "momentum": 0.5,
                "nesterov": True,
                "hypergrad_lr": 1e-6,
                "weight_decay": 1e-3,
            },
        },
        bad=(
            *of_optimizer(DECAY, ("hypergrad_lr", -1.0, "[0, inf)")),
            ({"learning_rate": 0.1, "nesterov": True}, ValueError, "nesterov=True needs momentum"),
        ),
        oracle=oracles.sgd_hd,
    ),
    Entry(
        fo.adam_hd,
        {"": {"learning_rate": 1e-3}, "decay": {"learning_rate": 1e-3, "weight_decay": 1e-3}},
        bad=of_optimizer(*BETAS, EPS, DECAY, ("hypergrad_lr", -1.0, "[0, inf)")),
        oracle=oracles.adam_hd,
    ),
    Entry(
        fo.hyperball,
        {
            "": {"learning_rate": 1e-3},
            "radius": {"learning_rate": 1e-3, "radius": 2.0},
            "columns": {"learning_rate": 1e-3, "axis": 0},
        },
        bad=of_optimizer(RADIUS),
    ),
    Entry(
        fo.norm_constraint,
        {"": {}, "radius": {"radius": 2.0}, "inside": {"radius": 2.0, "at_most": True}},
        bad=ranges(RADIUS),
        oracle=oracles.norm_constraint,
    ),
    Entry(
        fo.update_norm_floor,
        {"": {"floor": 0.0}, "columns": {"floor": 1e-3, "axis": 0}},
        bad=ranges(("floor", -1.0, "[0, inf)")),
        oracle=oracles.update_norm_floor,
    ),
    Entry(
        fo.scale_by_sophia,
        {"": {}, "plain": {"clip_threshold": None, "eps": 1e-2, "bias_correction": False}},
        bad=(
            *ranges(*SOPHIA),
            ({"hessian_diagonal_fn": 3}, TypeError, "hessian_diagonal_fn must be a pair of func"),
            (
                {"print_win_rate_every_n_steps": -1},
                ValueError,
                "print_win_rate_every_n_steps must be at least 0, got -1",
            ),
        ),
        extra=bowl,
        leave_out=ESTIMATED,
    ),
    Entry(
        fo.sophia,
        {"": {"learning_rate": 1e-3}, "decay": {"learning_rate": 1e-3, "weight_decay": 0.1}},
        bad=of_optimizer(*SOPHIA, DECAY),
        extra=bowl,
        leave_out=ESTIMATED,
    ),
    Entry(
        fo.rescale_heads,
        {"": {"threshold": 10.0, "head_axis": -1}},
        bad=ranges(("threshold", 0.0, "(0, inf)"), ("power", 2.0, "[0, 1]")),
        extra=logits_of_two_heads,
    ),
)
