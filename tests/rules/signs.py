"""Signs of gradients, and gradients that foretell."""

import functional_optim as fo

from ..oracles import signs as oracles
from .adam import ADAM_RANGES
from .table import RATE_RANGES, Entry, ranges

RULES = (
    Entry(fo.scale_by_sign, {"": {}}, oracle=oracles.scale_by_sign),
    Entry(
        fo.sign_sgd,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.sign_sgd,
    ),
    Entry(
        fo.signum,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.signum,
    ),
    Entry(
        fo.scale_by_optimistic_gradient,
        {"": {}, "weighted": {"alpha": 0.5, "beta": 2.0}},
        oracle=oracles.scale_by_optimistic_gradient,
    ),
    Entry(
        fo.optimistic_gradient_descent,
        {"": {"learning_rate": 1e-3}},
        bad=ranges(*RATE_RANGES),
        oracle=oracles.optimistic_gradient_descent,
    ),
    Entry(
        fo.optimistic_adam_v2,
        {"": {"learning_rate": 1e-3}, "plain": {"learning_rate": 1e-3, "nesterov": False}},
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.optimistic_adam_v2,
    ),
    Entry(
        fo.optimistic_adam,
        {
            "": {"learning_rate": 1e-3},
            "optimism": {"learning_rate": 1e-3, "optimism": 5e-4, "nesterov": False},
        },
        bad=ranges(*RATE_RANGES) + ranges(*ADAM_RANGES, learning_rate=0.1),
        oracle=oracles.optimistic_adam,
    ),
    Entry(
        fo.scale_by_polyak,
        {"": {}, "sps+": {"f_min": 5.0, "max_learning_rate": 0.1, "eps": 0.1, "variant": "sps+"}},
        bad=(
            *ranges(("max_learning_rate", -1.0, "[0, inf)"), ("eps", -1.0, "[0, inf)")),
            ({"variant": "sps-"}, ValueError, r"variant must be 'sps' or 'sps\+', got 'sps-'"),
        ),
        extra={"value": 2.0},
    ),
    Entry(
        fo.polyak_sgd,
        {"": {}, "scaled": {"scaling": 0.5}},
        bad=ranges(("scaling", -1.0, "[0, inf)"), ("max_learning_rate", -1.0, "[0, inf)")),
        extra={"value": 2.0},
    ),
)
