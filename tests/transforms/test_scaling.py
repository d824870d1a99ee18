import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

G = jnp.array([2.0, -4.0])


def run(tx, steps):
    """Returns the first elements of the updates of a constant gradient."""
    state, seen = tx.init(G), []
    for _ in range(steps):
        updates, state = tx.update(G, state)
        seen.append(float(updates[0]))
    return seen


def test_multiplies_by_a_number_of_any_sign():
    assert fo.scale(-0.5).update(G, fo.scale(-0.5).init(G))[0].tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(("flip_sign", "sign"), [(True, -1), (False, 1)])
def test_updates_point_downhill_unless_flip_sign_is_false(flip_sign, sign):
    assert run(fo.scale_by_learning_rate(0.5, flip_sign=flip_sign), 1) == [sign * 1.0]


@pytest.mark.parametrize(
    "plan",
    [fo.linear_schedule(1.0, 0.0, 4), optax.linear_schedule(1.0, 0.0, 4), lambda t: 1 - t / 4],
    ids=["ours", "optax", "lambda"],
)
def test_a_schedule_counts_updates_from_zero(plan):
    with jax.numpy_dtype_promotion("standard"):  # the schedules of others rely on it
        assert run(fo.scale_by_schedule(plan), 3) == [2.0, 1.5, 1.0]
        assert run(fo.scale_by_learning_rate(plan), 3) == [-2.0, -1.5, -1.0]


def test_scale_by_schedule_is_scale_of_a_schedule():
    plan = fo.linear_schedule(1.0, 0.0, 4)
    assert fo.scale_by_schedule(plan) == fo.scale(plan)


def test_numbers_may_be_arrays_of_any_library():
    for rate in (np.float32(0.5), np.array(0.5), jnp.array(0.5), 0.5):
        tx = fo.scale_by_learning_rate(rate)
        assert tx == fo.scale_by_learning_rate(0.5)
        assert run(tx, 1) == [-1.0]


def test_a_learning_rate_of_zero_stops():
    assert run(fo.sgd(0.0), 1) == [0.0]
