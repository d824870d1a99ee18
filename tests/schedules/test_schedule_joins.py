"""Schedules one after another, of this package and of others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .cases import STEPS, cosine, exponential, linear, warmup_cosine

PARTS = [
    (fo.linear_schedule(0.0, 1.0, 8), lambda t: linear(t, 0.0, 1.0, 8)),
    (0.3, lambda t: 0.3),
    (fo.cosine_decay_schedule(0.5, 9, 0.1), lambda t: cosine(t, 0.5, 9, 0.1)),
    (fo.exponential_decay(0.2, 5, 1.5), lambda t: exponential(t, 0.2, 5, 1.5)),
]


def in_turn(parts, boundaries, t):
    """Evaluates a join directly: the part of the last boundary reached, from its own step 0."""
    i = sum(boundary <= t for boundary in boundaries)
    return parts[i](t - [0, *boundaries][i])


@pytest.mark.parametrize(
    "boundaries", [[8, 12, 30], [0, 12, 30], [8, 8, 30], [8, 12, 12], [0, 0, 0], [60, 70, 80]]
)
def test_each_part_runs_in_turn_from_its_own_step_zero(boundaries, x64):
    schedule = fo.join_schedules([ours for ours, _ in PARTS], boundaries)
    expected = [in_turn([oracle for _, oracle in PARTS], boundaries, t) for t in STEPS]
    np.testing.assert_allclose(schedule(jnp.arange(len(STEPS))), expected, rtol=1e-12)


def test_joins_are_those_of_optax():
    def parts(lib):
        return [lib.linear_schedule(0.0, 1.0, 8), lib.cosine_decay_schedule(0.5, 9, 0.1)]

    with jax.numpy_dtype_promotion("standard"):
        schedule = optax.join_schedules(parts(optax), [11])
        theirs = jax.jit(jax.vmap(schedule))(jnp.array(STEPS))
    ours = fo.join_schedules(parts(fo), [11])(jnp.arange(len(STEPS)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_join_is_part_of_another():
    inner = fo.join_schedules([1.0, 2.0], [3])
    schedule = fo.join_schedules([inner, inner, 3.0], [5, 12])
    expected = [1, 1, 1, 2, 2, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert schedule(jnp.arange(14)).tolist() == expected


def test_a_join_of_one_is_that_one():
    assert fo.join_schedules([fo.linear_schedule(0.0, 1.0, 4)], [])(1) == 0.25


CYCLES = [
    {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 3, "decay_steps": 10},
    {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 0, "decay_steps": 20, "end_value": 0.1},
    {"init_value": 0.2, "peak_value": 0.4, "warmup_steps": 2, "decay_steps": 9, "exponent": 2.0},
]


def test_restarts_follow_one_another(x64):
    values = fo.sgdr_schedule(CYCLES)(jnp.arange(len(STEPS)))
    parts = [lambda t, kwargs=kwargs: warmup_cosine(t, **kwargs) for kwargs in CYCLES]
    expected = [in_turn(parts, [10, 30], t) for t in STEPS]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15)


def test_restarts_are_those_of_optax():
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(jax.vmap(optax.sgdr_schedule(CYCLES)))(jnp.array(STEPS))
    ours = fo.sgdr_schedule(iter(CYCLES))(jnp.arange(len(STEPS)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_longer_cycle_moves_those_after_it():
    state = fo.sgd(fo.sgdr_schedule(CYCLES)).init({"w": 0.0})
    state = fo.set_hyperparams(state, {"learning_rate.cycles.0.decay_steps": 14})
    state = state._replace(
        scale_by_learning_rate=state.scale_by_learning_rate._replace(count=jnp.int32(14))
    )
    updates, _ = fo.sgd(fo.sgdr_schedule(CYCLES)).update({"w": jnp.ones(())}, state)
    assert updates["w"] == -np.float32(CYCLES[1]["peak_value"])


def test_parts_of_others_count_integers_from_their_own_zero():
    table = jnp.array([0.5, 0.25, 0.125])
    seen = []

    def looked_up(step):
        seen.append(step.dtype)
        return table[step]

    schedule = fo.join_schedules([1.0, looked_up, lambda step: 0.0], [2, 5])
    assert [float(schedule(t)) for t in range(7)] == [1.0, 1.0, 0.5, 0.25, 0.125, 0.0, 0.0]
    assert set(seen) == {jnp.dtype("int32")}


def test_foreign_schedules_run_as_learning_rates():
    with jax.numpy_dtype_promotion("standard"):
        foreign = optax.cosine_decay_schedule(1.0, 10)
        tx = fo.sgd(fo.join_schedules([foreign, foreign], [5]))
        grads = {"w": jnp.ones(())}
        state, step = tx.init(grads), jax.jit(tx.update)
        for t in range(12):
            updates, state = step(grads, state)
            np.testing.assert_allclose(-updates["w"], cosine(t % 5 if t < 5 else t - 5, 1.0, 10),
                                       atol=1e-7)  # fmt: skip


def test_ours_are_parts_of_others():
    with jax.numpy_dtype_promotion("standard"):
        schedule = optax.join_schedules([fo.linear_schedule(0.0, 1.0, 4), lambda _: 0.5], [4])
        assert [float(schedule(t)) for t in (0, 1, 3, 4)] == [0.0, 0.25, 0.75, 0.5]


def test_a_part_need_not_be_finite_outside_its_turn():
    def value(scale, step):
        root = fo.schedule()(lambda step, scale: scale / jnp.sqrt(step + 1.0))
        growth = fo.exponential_decay(scale, 1, 1e3)
        return fo.join_schedules([growth, root(scale)], [5])(step)

    slope = jax.jit(jax.grad(value))
    slopes = [slope(jnp.float32(1.0), t) for t in (0, 4, 5, 8, 1000)]
    np.testing.assert_allclose(slopes, [1.0, 1e12, 1.0, 0.5, 996**-0.5], rtol=1e-5)


def test_a_part_that_returns_an_array_is_an_error():
    def pair(step):
        return jnp.ones(2)

    with pytest.raises(ValueError, match=r"^pair: a schedule must return a scalar, got .*\(2,\)"):
        fo.sgd(fo.join_schedules([pair, 0.1], [3])).init({"w": 0.0})


def test_a_function_that_returns_nothing_is_an_error():
    def forgot(step):
        step + 1

    with pytest.raises(TypeError, match=r"^forgot: a schedule must return a number, got None"):
        fo.sgd(forgot).init({"w": 0.0})
