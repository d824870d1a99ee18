"""A schedule as text."""

import math

import jax.numpy as jnp
import pytest

import functional_optim as fo


def rows(*args):
    return [line.split() for line in fo.schedule_table(*args).splitlines()]


def test_long_runs_show_both_ends_and_steps_between_them():
    steps = [int(step) for step, *_ in rows(fo.cosine_decay_schedule(1.0, 1000), 1001)]
    assert len(steps) == 21
    assert (steps[0], steps[-1]) == (0, 1000)
    assert steps == sorted(steps)


def test_bars_are_as_long_as_values_also_negative_ones():
    shown = rows(lambda step: 1 - step, [0, 1, 3])
    assert [(step, value) for step, value, *_ in shown] == [("0", "1"), ("1", "0"), ("3", "-2")]
    assert [len(bar) for *_, bar in shown[:2]] == [40, 27]
    assert len(shown[2]) == 2


def test_nan_is_shown():
    shown = rows(lambda step: jnp.where(step == 1, jnp.nan, 0.0), 2)
    assert math.isnan(float(shown[1][1]))


@pytest.mark.parametrize("steps", [0, []])
def test_no_steps_are_an_error(steps):
    with pytest.raises(ValueError, match="steps must not be empty"):
        fo.schedule_table(fo.constant_schedule(1.0), steps)
