"""Narrow parameters that move by small steps, and moments in fewer bits."""

import functional_optim as fo

from .table import Entry

RULES = (
    Entry(fo.master_weights, {"": {}}),
    Entry(fo.kahan_summation, {"": {}}),
    Entry(
        fo.master_remainder,
        {"": {}},
        leave_out=dict.fromkeys(
            ("state", "updates", "zero_gradients"),
            "it refuses float16: transforms/test_narrow_parameters.py has the other dtypes",
        ),
    ),
    Entry(
        fo.stochastic_rounding,
        {"": {"key": 0}},
        bad=(({"key": None}, TypeError, "stochastic_rounding: key must be an integer or a key"),),
    ),
    Entry(
        fo.low_bit_state,
        {"": {"tx": fo.adam(1e-3)}, "random": {"tx": fo.adam(1e-3), "key": 0}},
        bad=(
            ({"tx": 3}, TypeError, "low_bit_state: tx must be a pair of functions"),
            ({"tx": fo.adam(1e-3), "form": "4bit"}, ValueError, "form must be one of '8bit', 'bf"),
            ({"tx": fo.adam(1e-3), "min_size": 8}, ValueError, "min_size must be at least 256"),
            ({"tx": fo.adam(1e-3), "min_size": 1e4}, TypeError, "min_size must be an integer"),
            ({"tx": fo.adam(1e-3), "min_size": None}, TypeError, "min_size must be an integer"),
            ({"tx": fo.adam(1e-3), "key": 0.5}, TypeError, "low_bit_state: key must be an integ"),
        ),
    ),
)
