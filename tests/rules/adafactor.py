"""Adafactor, and its links."""

import functional_optim as fo

from ..oracles import adafactor as oracles
from .table import RATE_RANGES, Entry, ranges


def bounded_decay(step, decay_rate):
    """Computes the decay of Zhai et al., which does not come closer to 1 than 0.9."""
    decay = 1 - (step + 1.0) ** -decay_rate
    return (decay + 0.9 - abs(decay - 0.9)) / 2


SMALL = {"min_dim_size_to_factor": 2}
TORCH = {"dims": "last", "eps_as_floor": True, "epsilon": None}

FACTORED_RANGES = (("decay_rate", -0.8, "[0, inf)"), ("eps", -1.0, "[0, inf)"))
DIMS = (
    {"dims": "first"},
    ValueError,
    "scale_by_factored_rms: dims must be one of 'largest', 'last', got 'first'",
)

RULES = (
    Entry(
        fo.scale_by_factored_rms,
        {
            "": {},
            "factored": SMALL,
            "last": {**SMALL, "dims": "last", "step_offset": 3},
            "bounded": {**SMALL, "decay_rate_fn": bounded_decay},
            "torch": {**SMALL, **TORCH},
            "whole": {**TORCH, "factored": False, "epsilon": 0.1},
        },
        bad=(
            *ranges(("decay_rate", -0.8, "[0, inf)"), ("epsilon", -1.0, "[0, inf)")),
            *ranges(("step_offset", -1, "[0, inf)")),
            DIMS,
            (
                {"min_dim_size_to_factor": 2.5},
                ValueError,
                "scale_by_factored_rms: min_dim_size_to_factor must be an integer, got 2.5",
            ),
            ({"epsilon": None}, ValueError, "epsilon=None needs eps_as_floor=True. Pass a number"),
        ),
        oracle=oracles.scale_by_factored_rms,
    ),
    Entry(
        fo.clip_by_block_rms,
        {"": {"threshold": 0.5}, "loose": {"threshold": 100.0}},
        bad=ranges(("threshold", 0.0, "(0, inf]")),
        oracle=oracles.clip_by_block_rms,
    ),
    Entry(
        fo.scale_by_param_block_rms,
        {"": {}, "least": {"min_scale": 2.0}},
        bad=ranges(("min_scale", -1.0, "[0, inf)")),
    ),
    Entry(
        fo.scale_by_param_block_norm,
        {"": {}, "least": {"min_scale": 20.0}},
        bad=ranges(("min_scale", -1.0, "[0, inf)")),
    ),
    Entry(
        fo.scale_by_relative_step,
        {"": {}, "warmup": {"warmup_step": 1e-2, "max_step": 0.5}, "decay": {"weight_decay": 0.1}},
        bad=ranges(
            ("max_step", -0.1, "[0, inf)"),
            ("warmup_step", -0.1, "[0, inf)"),
            ("weight_decay", -0.1, "[0, inf)"),
        ),
        oracle=oracles.scale_by_relative_step,
    ),
    Entry(
        fo.adafactor,
        {
            "": {},
            "warmup": {**SMALL, "warmup_step": 1e-4, "multiply_by_parameter_scale": False},
            "rate": {
                **SMALL,
                "learning_rate": 1e-3,
                "momentum": 0.9,
                "weight_decay_rate": 1e-4,
                "clipping_threshold": None,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(*FACTORED_RANGES, ("decay_offset", -1, "[0, inf)")),
            *ranges(("clipping_threshold", 0.0, "(0, inf]"), ("momentum", 1.0, "[0, 1)")),
            *ranges(("weight_decay_rate", -0.1, "[0, inf)")),
            (
                {"learning_rate": 0.1, "warmup_step": 1e-6},
                ValueError,
                "adafactor: warmup_step=1e-06 needs learning_rate=None, got 0.1. Pass a schedule",
            ),
            (
                {"dtype_momentum": "float32"},
                ValueError,
                "adafactor: dtype_momentum='float32' needs momentum, got None. Pass a decay",
            ),
        ),
        oracle=oracles.adafactor,
    ),
)
