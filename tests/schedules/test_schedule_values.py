"""Values of schedules at every step, against the closed forms, and against optax."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .cases import CASES, STEPS, WITHOUT_A_PHASE

EVERY = [*CASES, *WITHOUT_A_PHASE]
NAMES = sorted({case.name for case in CASES} | {"join_schedules", "sgdr_schedule"})


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_values_are_those_of_the_closed_form(case, x64):
    values = case.make()(jnp.arange(len(STEPS)))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, case.expected(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", EVERY, ids=str)
def test_float32_keeps_its_digits(case):
    values = case.make()(jnp.arange(len(STEPS)))
    assert values.dtype == np.float32
    expected = case.expected()
    largest = np.abs(expected).max()
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1.2e-7 * largest)


@pytest.mark.parametrize("case", [case for case in CASES if case.agrees], ids=str)
def test_values_are_those_of_optax(case):
    values = case.make()(jnp.arange(len(STEPS)))
    np.testing.assert_allclose(values, case.optax(STEPS), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(optax, name)])
def test_arguments_are_those_of_optax(name):
    ours, theirs = (inspect.signature(getattr(lib, name)).parameters for lib in (fo, optax))
    assert [(k, p.default) for k, p in ours.items()] == [(k, p.default) for k, p in theirs.items()]


@pytest.mark.parametrize("case", CASES[:20:3], ids=str)
def test_one_step_gives_a_scalar(case):
    value = case.make()(3)
    assert value.shape == ()
    np.testing.assert_allclose(value, case.expected([3])[0], rtol=2e-6)


def test_last_updates_of_a_long_decay_are_accurate():
    steps = 1_000_000
    last = np.arange(steps - 3, steps)
    left = (steps - last) / steps
    linear = jax.jit(fo.linear_schedule(1.0, 0.0, steps))(last)
    np.testing.assert_allclose(linear, left, rtol=1e-6)
    cosine = jax.jit(fo.cosine_decay_schedule(1.0, steps))(last)
    np.testing.assert_allclose(cosine, np.sin(np.pi / 2 * left) ** 2, rtol=1e-6)
    cooldown = fo.warmup_stable_decay_schedule(0.0, 1.0, 0, 0, steps, shape="sqrt")
    sqrt = jax.jit(cooldown)(last)
    np.testing.assert_allclose(sqrt, left / (1 + np.sqrt(1 - left)), rtol=1e-6)


@pytest.mark.parametrize("end_value", [0.0, 1e-5, 3.0])
def test_ends_are_reached_exactly(end_value):
    end = np.float32(end_value)
    for schedule, last in [
        (fo.linear_schedule(0.7, end_value, 10), 10),
        (fo.polynomial_schedule(0.7, end_value, 3, 10), 10),
        (fo.warmup_cosine_decay_schedule(0.0, 0.7, 3, 10, end_value), 10),
        (fo.warmup_stable_decay_schedule(0.0, 0.7, 3, 4, 3, end_value, "sqrt"), 10),
    ]:
        assert schedule(last) == schedule(10**6) == end
        assert schedule(0) == np.float32(schedule.numbers[0][1])


@pytest.mark.parametrize("steps", [3, 5, 30, 41])
def test_a_compiled_end_is_exact_for_all_lengths(steps):
    # Compiled, a division by a constant is a product with 1 / steps, which may exceed 1.
    schedule = jax.jit(fo.polynomial_schedule(1.0, 0.25, 2.5, steps))
    assert schedule(steps) == schedule(steps + 1) == 0.25


@pytest.mark.parametrize("steps", [7, 41, 47, 1000])
def test_staircase_drops_at_whole_periods(steps):
    periods = np.arange(1, 40)
    schedule = jax.jit(fo.exponential_decay(1.0, steps, 0.5, staircase=True))
    np.testing.assert_array_equal(schedule(steps * periods), 0.5 ** periods.astype(np.float32))
    np.testing.assert_array_equal(schedule(steps * periods - 1), 0.5 ** (periods - 1.0))


@pytest.mark.parametrize("x64", [False, True])
def test_onecycle_peaks_where_rounding_would_lose_an_update(x64):
    # 0.29 * 100 is 28.999999999999996.
    with jax.enable_x64(x64):
        for schedule in fo.linear_onecycle_schedule, fo.cosine_onecycle_schedule:
            values = jax.jit(schedule(100, 1.0, pct_start=0.29))(jnp.arange(100))
            assert int(jnp.argmax(values)) == 29
            assert values[29] == 1.0


def test_fractional_lengths():
    schedule = fo.warmup_cosine_decay_schedule(0.0, 1.0, 2.5, 7.5)
    expected = [0.0, 0.4, 0.8, 0.5 + 0.5 * np.cos(np.pi * 0.1), 0.0]
    np.testing.assert_allclose(jax.jit(schedule)(jnp.array([0, 1, 2, 3, 8])), expected, atol=1e-6)
