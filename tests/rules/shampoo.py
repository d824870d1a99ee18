"""Shampoo."""

import functional_optim as fo

from ..oracles import shampoo as oracles
from .table import RATE_RANGES, Entry, ranges

USUAL = {"b2": 0.875, "eps": 2.0**-8, "precondition_frequency": 2}
"""Factors whose roots float32 finds to some digits."""

DRIFT = 5e-6
"""Until a factor has full rank, its root multiplies rounding by a power of 1 / eps."""

RULES = (
    Entry(
        fo.scale_by_shampoo,
        {
            "": {**USUAL, "b1": 0.875},
            "sum": {**USUAL, "b1": None, "b2": 1.0, "exponent": 0.375, "max_precond_dim": 3},
            "adam": {
                **USUAL,
                "start_preconditioning_step": 5,
                "grafting": "adam",
                "graft_b2": 0.875,
            },
            "adagrad": {**USUAL, "grafting": "adagrad", "use_bias_correction": False},
            "rmsprop": {**USUAL, "grafting": "rmsprop", "graft_b2": 0.75, "one_sided": True},
            "sgd": {**USUAL, "grafting": "sgd", "relative_eps": True},
            "newton": {**USUAL, "root": "newton"},
            "pseudo": {**USUAL, "eps": 0.0, "pseudo_inverse": True},
        },
        bad=(
            *ranges(
                ("b1", 1.0, "[0, 1)"),
                ("b2", 1.5, "[0, 1]"),
                ("eps", -1.0, "[0, inf)"),
                ("precondition_frequency", 0, "[1, inf)"),
                ("start_preconditioning_step", 0, "[1, inf)"),
                ("graft_b2", 1.0, "[0, 1)"),
                ("graft_eps", -1.0, "[0, inf)"),
            ),
            ({"grafting": "lion"}, ValueError, "grafting must be one of 'none', 'sgd', 'adagrad'"),
            ({"root": "svd"}, ValueError, "root must be one of 'eigh', 'newton', 'qr', got 'svd'"),
            ({"exponent": 0}, ValueError, "exponent must be a positive number, got 0"),
            (
                {"exponent": 0.3, "root": "newton"},
                ValueError,
                r"powers of -1 / p, got exponent=0\.3",
            ),
            ({"pseudo_inverse": True, "root": "newton"}, ValueError, "has no pseudo_inverse"),
            ({"max_precond_dim": -1}, ValueError, "max_precond_dim must be a whole number from 0"),
        ),
        oracle=oracles.scale_by_shampoo,
        drift=DRIFT,
    ),
    Entry(
        fo.shampoo,
        {
            "": {"learning_rate": 1e-2, **USUAL},
            "blocks": {
                "learning_rate": 1e-2,
                **USUAL,
                "block_size": 2,
                "grafting": "adam",
                "weight_decay": 0.125,
                "momentum": 0.5,
                "nesterov": True,
                "adam_b1": 0.5,
                "adam_weight_decay": 0.125,
                "adam_learning_rate": 5e-3,
            },
        },
        bad=(
            *ranges(*RATE_RANGES),
            *ranges(("weight_decay", -1.0, "[0, inf)"), learning_rate=0.1),
            ({"learning_rate": 0.1, "root": "svd"}, ValueError, "shampoo: root must be"),
            ({"learning_rate": 0.1, "block_size": 0}, ValueError, "block_size must be at least 1"),
            ({"learning_rate": 0.1, "block_size": 2.0}, TypeError, "block_size must be an integer"),
            (
                {"learning_rate": 0.1, "nesterov": True},
                ValueError,
                "shampoo: nesterov=True needs momentum, got None",
            ),
        ),
        oracle=oracles.shampoo,
        drift=DRIFT,
    ),
)
