"""The links of which optimizers are made."""

import functional_optim as fo

from ..oracles import links as oracles
from .table import RATE_RANGES, Entry, ranges

TRACE_RANGES = (("dampening", float("inf"), "(-inf, inf)"),)

RULES = (
    Entry(fo.scale, {"": {"step_size": -0.5}}, oracle=oracles.scale),
    Entry(
        fo.scale_by_learning_rate,
        {"": {"learning_rate": 0.1}, "ascent": {"learning_rate": 0.1, "flip_sign": False}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.scale_by_learning_rate,
    ),
    Entry(
        fo.scale_by_schedule,
        {"": {"step_size_fn": fo.linear_schedule(1.0, 0.0, 10)}},
        bad=(({"step_size_fn": 0.1}, TypeError, "scale_by_schedule: step_size_fn must be a fun"),),
    ),
    Entry(
        fo.clip,
        {"": {"max_delta": 0.5}},
        bad=ranges(("max_delta", -1.0, "[0, inf]")),
        oracle=oracles.clip,
    ),
    Entry(
        fo.clip_by_global_norm,
        {"": {"max_norm": 1.0}, "loose": {"max_norm": 100.0}},
        bad=ranges(("max_norm", -1.0, "[0, inf]")),
        oracle=oracles.clip_by_global_norm,
    ),
    Entry(
        fo.add_decayed_weights,
        {"": {"weight_decay": 1e-3}},
        bad=ranges(("weight_decay", -0.1, "[0, inf)")),
        oracle=oracles.add_decayed_weights,
    ),
    Entry(
        fo.trace,
        {
            "": {"decay": 0.9},
            "dampening": {"decay": 0.9, "dampening": 0.3},
            "nesterov": {"decay": 0.9, "nesterov": True},
            "off": {"decay": 0.0},
        },
        bad=ranges(("decay", -0.1, "[0, inf)")) + ranges(*TRACE_RANGES, decay=0.9),
        oracle=oracles.trace,
    ),
    Entry(
        fo.ema,
        {"": {"decay": 0.9}, "biased": {"decay": 0.9, "debias": False}},
        bad=ranges(("decay", 1.0, "[0, 1)")),
        oracle=oracles.ema,
    ),
)
