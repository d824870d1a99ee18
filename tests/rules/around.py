"""Links around the step, which measure, average or gather rather than decide a direction."""

import functional_optim as fo

from ..oracles import links as oracles
from .table import NAMED, RATE_RANGES, Entry, ranges

SAM = {"optimizer": fo.sgd(0.1), "adv_optimizer": fo.sgd(0.1)}
NOISE = {"eta": 0.01, "gamma": 0.55}
NO_KEY = "key must be an integer or a key of jax.random.key, got None"

RULES = (
    Entry(
        fo.add_noise,
        {"": {**NOISE, "key": 0}},
        bad=(
            *ranges(("eta", -1.0, "[0, inf)"), gamma=0.55, key=0),
            *ranges(("gamma", float("inf"), "(-inf, inf)"), eta=0.01, key=0),
            ({**NOISE, "key": None}, TypeError, NO_KEY),
            ({**NOISE, "key": 0.5}, TypeError, "key of jax.random.key, got 0.5"),
            ({**NOISE, "key": True}, TypeError, "key of jax.random.key, got True"),
        ),
    ),
    Entry(
        fo.noisy_sgd,
        {"": {"learning_rate": 0.1, "key": 0}},
        bad=(*ranges(*RATE_RANGES, key=0), ({"learning_rate": 0.1}, TypeError, NO_KEY)),
    ),
    Entry(fo.snapshot, {"": {"measure_name": "norm", "measure": fo.global_norm}}),
    Entry(
        fo.monitor,
        {
            "": {
                "measures": {
                    "norm": fo.global_norm,
                    "mean": fo.measure_with_ema(fo.global_norm, 0.9),
                }
            }
        },
        bad=(({"measures": {"a": 3}}, TypeError, "monitor: the measure 'a' must be a function"),),
    ),
    Entry(
        fo.apply_every,
        {"": {"k": 2}},
        bad=ranges(("k", 0, "[1, inf)")),
        oracle=oracles.apply_every,
    ),
    Entry(
        fo.flatten,
        {"": {"inner": fo.adam(1e-3)}},
        leave_out={"sharding": "on axes of the compiler, a step may divide the vectors"},
    ),
    Entry(
        fo.packed,
        {
            "": {"tx": fo.adamw(1e-3)},
            "chain": {"tx": fo.chain(fo.clip_by_global_norm(1.0), fo.lamb(0.1))},
        },
        bad=(
            ({"tx": 3}, TypeError, "packed: tx must be a pair of functions"),
            ({"tx": fo.scale(0.1)}, ValueError, "holds no rule of this package that keeps slots"),
            ({"tx": fo.adam(0.1), "max_size": 0}, ValueError, "max_size must be at least 1, got 0"),
            ({"tx": fo.adam(0.1), "max_size": 2.0}, TypeError, "max_size must be an integer"),
        ),
        leave_out={"traces": "6 leaves of a shape are held together, and 2 are not"},
    ),
    Entry(
        fo.per_leaf_counts,
        {"": {"tx": fo.adamw(1e-3)}, "momentum": {"tx": fo.sgd(0.1, momentum=0.9)}},
        bad=(({"tx": 3}, TypeError, "per_leaf_counts: tx must be a pair of functions"),),
    ),
    Entry(
        fo.selective_transform,
        {"": {"optimizer": fo.adam(1e-3), "freeze_mask": {"w": False, "b": True}}},
        leave_out=NAMED,
    ),
    Entry(
        fo.loss_scale,
        {"": {"inner": fo.adam(1e-3), "growth_factor": 4.0, "growth_interval": 2}},
        bad=(
            *ranges(
                ("init_scale", 0.0, "(0, inf)"),
                ("growth_factor", 1.0, "(1, inf)"),
                ("backoff_factor", 1.0, "(0, 1)"),
                ("growth_interval", 0, "[1, inf)"),
                ("min_scale", -1.0, "[0, inf)"),
                inner=fo.sgd(0.1),
            ),
            ({"inner": 3}, TypeError, "loss_scale: inner must be a pair of functions"),
        ),
    ),
    Entry(fo.normalize, {"": {}}, oracle=oracles.normalize),
    Entry(
        fo.normalize_adaptively,
        {"": {"eta": 0.1}},
        bad=ranges(("eta", -1.0, "[0, inf)")),
    ),
    Entry(
        fo.sam,
        {"": {"optimizer": fo.adam(1e-3), "adv_optimizer": fo.sgd(0.1, momentum=0.9)}},
        bad=(
            ({**SAM, "optimizer": 3}, TypeError, "sam: optimizer must be a pair of functions"),
            ({**SAM, "sync_period": 0}, ValueError, "sync_period must be at least 1, got 0"),
            ({**SAM, "sync_period": 2.0}, TypeError, "sync_period must be an integer, got 2.0"),
            ({**SAM, "batch_axis_name": "i"}, ValueError, "batch_axis_name is for opaque_mode"),
        ),
        leave_out={
            "none_gradients": "without a gradient, a leaf may have to return from a climb",
            "traces": "a choice between three updates takes nine operations for each leaf",
        },
    ),
    Entry(
        fo.params_ema,
        {"": {"decay": 0.9}, "from-first": {"decay": 0.9, "debias": False, "every": 2}},
        bad=ranges(("decay", 1.0, "[0, 1)")),
        oracle=oracles.passes,
    ),
    Entry(
        fo.params_swa,
        {"": {}, "later": {"start": 3, "every": 2}},
        bad=ranges(("start", -1, "[0, inf)")),
        oracle=oracles.passes,
    ),
)
