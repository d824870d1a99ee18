"""Arguments with which schedules raise, and the messages."""

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo

NEGATIVE = [
    (fo.linear_schedule, (0, 1, -1), "linear_schedule: transition_steps must be in [0, inf)"),
    (fo.linear_schedule, (0, 1, 4, -1), "linear_schedule: transition_begin must be in [0, inf)"),
    (fo.polynomial_schedule, (0, 1, -2, 4), "polynomial_schedule: power must be in [0, inf)"),
    (fo.polynomial_schedule, (0, 1, 2, -4), "polynomial_schedule: transition_steps must be in"),
    (fo.exponential_decay, (1, 0, 0.5), "exponential_decay: transition_steps must be in (0, inf)"),
    (fo.exponential_decay, (1, 4, 0), "exponential_decay: decay_rate must be in (0, inf), got 0"),
    (fo.cosine_decay_schedule, (1, -4), "cosine_decay_schedule: decay_steps must be in [0, inf)"),
    (fo.cosine_decay_schedule, (1, float("nan")), "decay_steps must be in [0, inf), got nan."),
    (fo.warmup_constant_schedule, (0, 1, -1), "warmup_constant_schedule: warmup_steps must be in"),
    (fo.warmup_cosine_decay_schedule, (0, 1, -1, 5), "warmup_steps must be in [0, inf), got -1."),
    (fo.warmup_cosine_decay_schedule, (0, 1, 9, 5),
     "warmup_cosine_decay_schedule: decay_steps must be at least warmup_steps, got decay_steps=5 "
     "and warmup_steps=9. Both are counted from the start; pass a larger decay_steps."),
    (fo.warmup_cosine_decay_schedule, (0, 1, 2, float("nan")), "decay_steps must be in [0, inf)"),
    (fo.precond_update_prob_schedule, (1.5,), "max_prob must be in [0, 1], got 1.5. Pass"),
    (fo.precond_update_prob_schedule, (1.0, -0.1), "min_prob must be in [0, 1], got -0.1. Pass"),
    (fo.precond_update_prob_schedule, (0.1, 0.2),
     "max_prob must be at least min_prob, got max_prob=0.1 and min_prob=0.2. Pass a larger max_p"),
    (fo.precond_update_prob_schedule, (1.0, 0.0, -0.1), "decay must be in [0, inf), got -0.1."),
    (fo.precond_update_prob_schedule, (1.0, 0.0, 0.1, -1), "flat_start must be in [0, inf), got"),
    (fo.constant_schedule, (float("nan"),), "constant_schedule: value must be a number, got nan."),
    (fo.warmup_exponential_decay_schedule, (0, 1, 2, 5, -1), "decay_rate must be in (0, inf)"),
    (fo.inverse_sqrt_schedule, (0, 1, -4), "inverse_sqrt_schedule: warmup_steps must be in"),
    (fo.warmup_stable_decay_schedule, (0, 1, 2, -3, 4), "stable_steps must be in [0, inf), got -3"),
    (fo.warmup_stable_decay_schedule, (0, 1, 2, 3, 4, 0, "square"),
     "warmup_stable_decay_schedule: shape must be one of 'linear', 'cosine', 'sqrt', got 'square'"),
    (fo.linear_onecycle_schedule, (9, 1, 1.5), "pct_start must be in [0, 1], got 1.5. Pass"),
    (fo.linear_onecycle_schedule, (9, 1, 0.9),
     "linear_onecycle_schedule: pct_final must be at least pct_start, got pct_final=0.85"),
    (fo.linear_onecycle_schedule, (9, 1, 0.3, 0.8, 0), "div_factor must be in (0, inf), got 0."),
    (fo.cosine_onecycle_schedule, (-9, 1), "cosine_onecycle_schedule: transition_steps must be in"),
    (fo.cosine_onecycle_schedule, (9, 1, 0.3, 25, 0), "final_div_factor must be in (0, inf)"),
    (fo.onecycle_schedule, (0, 1), "onecycle_schedule: total_steps must be in [1, inf), got 0."),
    (fo.onecycle_schedule, (9, 1, 1.5), "onecycle_schedule: pct_start must be in [0, 1], got 1.5"),
    (fo.onecycle_schedule, (9, 1, 0.3, "cosine"),
     "onecycle_schedule: anneal_strategy must be one of 'cos', 'linear', got 'cosine'"),
    (fo.cyclic_schedule, (0, 1, 0), "cyclic_schedule: up_steps must be in (0, inf), got 0."),
    (fo.cyclic_schedule, (0, 1, 4, -1), "cyclic_schedule: down_steps must be in [0, inf), got -1."),
    (fo.cyclic_schedule, (0, 1, 4, 4, "square"),
     "cyclic_schedule: mode must be one of 'triangular', 'triangular2', 'exp_range', got 'square'"),
    (fo.cyclic_schedule, (0, 1, 4, 4, "exp_range", -0.5), "gamma must be in [0, inf), got -0.5."),
    (fo.cosine_restarts_schedule, (1, 0), "first_steps must be in [1, inf), got 0."),
    (fo.cosine_restarts_schedule, (1, 4, 0.5), "growth must be in [1, inf), got 0.5."),
    (fo.piecewise_constant_schedule, (1, {4: -1}),
     "piecewise_constant_schedule: boundaries_and_scales[4] must be in [0, inf), got -1."),
    (fo.piecewise_constant_schedule, (1, {-4: 1}),
     "piecewise_constant_schedule: boundaries_and_scales: a boundary must be in [0, inf), got -4"),
    (fo.piecewise_interpolate_schedule, ("cubic", 1),
     "piecewise_interpolate_schedule: interpolate_type must be one of 'linear', 'cosine', got"),
    (fo.join_schedules, ([], []), "join_schedules: schedules is empty. Pass at least one"),
    (fo.join_schedules, ([0.1, 0.2], [1, 2]),
     "join_schedules: boundaries must be one fewer than the schedules, 1, got 2. Pass"),
    (fo.join_schedules, ([0.1, 0.2], [-1]), "join_schedules: boundaries[0] must be in [0, inf)"),
    (fo.join_schedules, ([0.1, 0.2, 0.3], [9, 4]),
     "join_schedules: boundaries must not decrease, got [9, 4]. Pass steps counted from the start"),
    (fo.sgdr_schedule, ([],), "sgdr_schedule: cosine_kwargs is empty. Pass a dict for each cycle."),
    (fo.sgdr_schedule,
     ([{"init_value": 0, "peak_value": 1, "warmup_steps": 3, "decay_steps": 2}],),
     "sgdr_schedule: cosine_kwargs[0]: warmup_cosine_decay_schedule: decay_steps must be at least"),
]  # fmt: skip


@pytest.mark.parametrize(("factory", "arguments", "message"), NEGATIVE)
def test_numbers_out_of_range_are_errors(factory, arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        factory(*arguments)
    assert message in str(caught.value)
    assert str(caught.value).startswith(factory.__name__)


WRONG = [
    (fo.piecewise_constant_schedule, (1, [4]),
     "piecewise_constant_schedule: boundaries_and_scales must be a mapping, got [4]. Pass {step:"),
    (fo.linear_schedule, (0, "1", 4), "linear_schedule: end_value must be a real number, got '1'"),
    (fo.constant_schedule, (True,), "constant_schedule: value must be a real number, got True"),
    (fo.linear_schedule, (0, 1),
     "linear_schedule: missing a required argument: 'transition_steps'. It takes (init_value, "
     "end_value, transition_steps, transition_begin=0)."),
    (fo.join_schedules, (["fast", 0.2], [4]),
     "join_schedules: schedules[0] must be a real number, got 'fast' of type str."),
    (fo.sgdr_schedule, ([{"init_value": 0, "peak_value": 1, "warmup_steps": 3}],),
     "sgdr_schedule: cosine_kwargs[0]: warmup_cosine_decay_schedule: missing a required argument:"),
]  # fmt: skip


@pytest.mark.parametrize(("factory", "arguments", "message"), WRONG)
def test_arguments_of_other_kinds_are_errors(factory, arguments, message):
    with pytest.raises(TypeError) as caught:
        factory(*arguments)
    assert str(caught.value).startswith(message)


def test_an_array_of_values_is_an_error():
    with pytest.raises(ValueError, match=r"^linear_schedule: end_value must be a scalar, got"):
        fo.linear_schedule(0.0, jnp.ones(3), 4)


def test_traced_numbers_are_not_checked():
    def value(warmup, decay):
        return fo.warmup_cosine_decay_schedule(0.0, 1.0, warmup, decay)(3)

    assert jax.jit(value)(2.0, 1.0) == 0.0
    assert jax.jit(lambda b: fo.join_schedules([1.0, 2.0, 3.0], [2, b])(4))(1.0) == 3.0
