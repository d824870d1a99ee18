"""Transformations that act on others."""

import jax

import functional_optim as fo

from .table import NAMED, Entry, matrices


def doubled(update, param):
    return jax.tree.map(lambda u: 2 * u, update)


def at_even_steps(step):
    return step % 2 == 0


RULES = (
    Entry(fo.identity, {"": {}}),
    Entry(fo.set_to_zero, {"": {}}),
    Entry(
        fo.stateless,
        {"": {"f": doubled}},
        bad=(({"f": 3}, TypeError, "stateless: f must be a function"),),
    ),
    Entry(
        fo.stateless_with_tree_map,
        {"": {"f": doubled}},
        bad=(({"f": 3}, TypeError, "stateless_with_tree_map: f must be a function"),),
    ),
    Entry(fo.with_extra_args_support, {"": {"tx": fo.adam(1e-3)}}),
    Entry(
        fo.split_real_and_imaginary,
        {"": {"inner": fo.adam(1e-3)}},
        bad=(
            (
                {"inner": 3},
                TypeError,
                "split_real_and_imaginary: inner must be a pair of functions",
            ),
        ),
    ),
    Entry(
        fo.masked,
        {
            "": {"inner": fo.adam(1e-3), "mask": matrices},
            "tree": {"inner": fo.trace(0.9), "mask": {"w": True, "b": False}},
            "zero": {"inner": fo.trace(0.9), "mask": matrices, "otherwise": "zero"},
        },
        bad=(
            ({"inner": 3, "mask": True}, TypeError, "masked: inner must be a pair of functions"),
            (
                {"inner": fo.scale(1.0), "mask": True, "otherwise": "keep"},
                ValueError,
                "masked: otherwise must be 'pass' or 'zero', got 'keep'",
            ),
        ),
        leave_out=NAMED,
    ),
    Entry(
        fo.freeze,
        {
            "": {"mask": {"w": False, "b": True}},
            "inner": {"mask": matrices, "inner": fo.sgd(0.1, momentum=0.9)},
        },
        bad=(({"mask": True, "inner": 3}, TypeError, "must be a pair of functions"),),
        leave_out=NAMED,
    ),
    Entry(
        fo.partition,
        {
            "": {
                "transforms": {"fast": fo.adam(1e-3), "slow": fo.sgd(0.1, momentum=0.9)},
                "param_labels": {"w": "fast", "b": "slow"},
            },
            "paths": {
                "transforms": {"fast": fo.adam(1e-3), "rest": fo.set_to_zero()},
                "param_labels": fo.path_labels({"^w": "fast"}, default="rest"),
            },
        },
        bad=(
            (
                {"transforms": {"a": fo.clip}, "param_labels": "a"},
                TypeError,
                "partition: the transform 'a' must be a pair of functions",
            ),
        ),
        leave_out={**NAMED, "none_parameters": "labels name leaves, which must be there"},
    ),
    Entry(
        fo.apply_if_finite,
        {"": {"inner": fo.adam(1e-3), "max_consecutive_errors": 3}},
        bad=(
            ({"inner": 3, "max_consecutive_errors": 1}, TypeError, "must be a pair of functions"),
        ),
        leave_out={"traces": "it looks at each array of the updates and of the state"},
    ),
    Entry(
        fo.MultiSteps,
        {"": {"opt": fo.adam(1e-3), "every_k_schedule": 2}},
        bad=(
            ({"opt": 3, "every_k_schedule": 2}, TypeError, "opt must be a pair of functions"),
            (
                {"opt": fo.sgd(0.1), "every_k_schedule": 0},
                ValueError,
                "every_k_schedule must be at least 1, got 0",
            ),
            (
                {"opt": fo.sgd(0.1), "every_k_schedule": 0.5},
                TypeError,
                "every_k_schedule must be an integer or a function of the step, got 0.5",
            ),
        ),
        leave_out={"traces": "it adds each gradient to its sum"},
    ),
    Entry(
        fo.lookahead,
        {"": {"fast_optimizer": fo.adam(1e-3), "sync_period": 2, "slow_step_size": 0.5}},
        bad=(
            (
                {"fast_optimizer": fo.sgd(0.1), "sync_period": 2, "slow_step_size": -0.1},
                ValueError,
                r"slow_step_size must be in \[0, 1\], got -0.1",
            ),
        ),
    ),
    Entry(
        fo.conditionally_transform,
        {"": {"inner": fo.adam(1e-3), "should_transform_fn": at_even_steps}},
    ),
    Entry(
        fo.conditionally_mask,
        {"": {"inner": fo.adam(1e-3), "should_transform_fn": at_even_steps}},
    ),
)
