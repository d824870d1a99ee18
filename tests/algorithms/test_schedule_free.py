"""Schedule-Free and GPA: published numbers and limits, and where to evaluate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close


def descend(tx, gradient, x, steps):
    """Returns parameters and state after some steps from x, in one program."""

    def body(carry, _):
        p, state = carry
        u, state = tx.update(gradient(p), state, p)
        return (fo.apply_updates(p, u), state), None

    return jax.lax.scan(body, (x, tx.init(x)), None, length=steps)[0]


@pytest.mark.usefixtures("x64")
def test_a_parabola_gives_the_numbers_of_the_reference():
    y, state = descend(fo.schedule_free_sgd(0.5), lambda y: y, jnp.array(1.0), 10)
    x, z = fo.eval_params(state, y), state.schedule_free_step.z
    expected = -0.038563233068359376, -0.05318243406035157, -0.18475524298828125
    np.testing.assert_allclose([x, y, z], expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("b1", "steps", "published"),
    [
        (1e-6, 1000, 0.0191), (0.5, 1000, 0.0055), (0.9, 1000, 0.0013), (1.0, 1000, 0.0134),
        (1e-6, 10_000, None), (0.5, 10_000, 0.0), (0.9, 10_000, 0.0), (1.0, 10_000, 0.00495),
    ],
)  # fmt: skip
def test_the_loss_is_within_the_bound_of_theorem_1(b1, steps, published):
    """Minimizes |x| from 1: D = G = 1, so a learning rate of 1 / sqrt(T) bounds the loss."""
    rate = steps**-0.5
    y, state = descend(fo.schedule_free_sgd(rate, b1=b1), jnp.sign, jnp.array(1.0), steps)
    loss = abs(fo.eval_params(state, y))
    assert loss <= rate
    # Almost without an average in y, z reaches 0 up to rounding, and the sign of what is left
    # decides on which side it continues: the loss is then 0.0099 or 0.
    if published is not None:
        assert loss == pytest.approx(published, abs=5e-5)


PRINTED = {
    "schedule_free_adamw": ({"learning_rate": 1.0}, "5.00E+00 3.05E+00 1.73E+00 8.94E-01 4.13E-01"),
    "schedule_free_sgd": ({}, "1.40E+01 1.75E-14 9.96E-01 8.06E-01 2.41E-01"),
}


@pytest.mark.parametrize("name", PRINTED)
def test_losses_are_those_that_optax_prints(name):
    arguments, printed = PRINTED[name]
    tx, y = getattr(fo.contrib, name)(**arguments), jnp.array([1.0, 2.0, 3.0])
    state = tx.init(y)
    for text in printed.split():
        updates, state = tx.update(2 * y, state, y)
        y = fo.apply_updates(y, updates)
        loss = jnp.sum(jnp.square(fo.contrib.schedule_free_eval_params(state, y)))
        # At 1e-14 it is what rounding has left of 1.
        assert f"{loss:.2E}" == text or max(loss, float(text)) < 1e-12


@pytest.mark.usefixtures("x64")
def test_all_of_a_point_in_the_average_is_primal_averaging():
    """With b1 = 1, the gradient is that at the average itself, of equal weights."""
    y, state = descend(fo.schedule_free_sgd(0.25, b1=1.0), lambda y: y, jnp.array(1.0), 20)
    z = x = 1.0
    for t in range(20):
        z -= 0.25 * x
        x += (z - x) / (t + 1)
    np.testing.assert_allclose([y, fo.eval_params(state, y)], x, rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_none_of_it_is_the_mean_of_plain_iterates():
    y, state = descend(fo.schedule_free_sgd(0.25, b1=2**-20), lambda y: y, jnp.array(1.0), 20)
    iterates = 0.75 ** np.arange(1, 21)
    np.testing.assert_allclose(y, iterates[-1], rtol=1e-5)
    np.testing.assert_allclose(fo.eval_params(state, y), iterates.mean(), rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_an_optimizer_in_the_wrapper_is_the_native_one():
    base = fo.adamw(0.1, b1=0.0, weight_decay=0.01)
    params, grads = problem.arrays(np.float64), problem.arrays(np.float64, 1)
    grads = jax.tree.map(lambda g: jnp.stack([g, 2 * g, -g]), grads)
    pair = fo.schedule_free(base, 0.1), fo.schedule_free_adamw(0.1, weight_decay=0.01)
    wrapped, native = (problem.train(tx, params, grads)[2] for tx in pair)
    assert_close(wrapped, native, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_warmup_from_zero_gives_the_numbers_of_optax(name):
    arguments = {"learning_rate": 0.1, "warmup_steps": 4, "b1": 0.8, "weight_decay": 0.01}
    params = problem.arrays(np.float64)
    grads = jax.tree.map(jnp.asarray, problem.normal(np.float64, 1, (12,)))
    ours = getattr(fo, name)(**arguments, warmup_from_zero=True)
    theirs = getattr(optax.contrib, name)(**arguments)
    with jax.numpy_dtype_promotion("standard"):
        _, _, expected = problem.train(theirs, params, grads)
    # optax computes schedules in float32, in x64 too.
    assert_close(problem.train(ours, params, grads)[2], expected, rtol=1e-6, atol=1e-8)
    authors = getattr(fo, name)(**arguments)
    assert jnp.abs(problem.train(authors, params, grads)[2]["w"] - expected["w"]).max() > 1e-4


def test_weights_in_narrow_parameters_are_those_of_float64():
    """optax's sum stops at 399 weights, and each new point then has more than its part."""
    steps = 5000
    y = jnp.ones(4, jnp.bfloat16)
    _, state = descend(fo.schedule_free_adamw(0.0025), lambda y: y, y, steps)
    carry = state.schedule_free_step.carry
    np.testing.assert_allclose(carry["weight_sum"], steps * 0.0025**2, rtol=1e-3)
    assert state.schedule_free_step.z.dtype == carry["weight_sum"].dtype == jnp.float32


def test_a_master_keeps_the_average_of_narrow_parameters():
    """With the point that trains in bfloat16 alone, small steps are lost."""
    y = jnp.ones(4, jnp.bfloat16)
    tx = fo.chain(fo.schedule_free_adamw(1e-3), fo.master_weights())
    y, state = descend(tx, jnp.sign, y, 1000)
    wide, expected = descend(fo.schedule_free_adamw(1e-3), jnp.sign, jnp.ones(4), 1000)
    x = fo.eval_params(expected, wide)
    np.testing.assert_allclose(fo.eval_params(state, y).astype(jnp.float32), x, atol=4e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("wrapper", ["schedule_free", "generalized_primal_averaging"])
def test_a_share_that_changes_moves_only_the_point_that_trains(wrapper):
    share = fo.linear_schedule(0.5, 0.9, 10)
    if wrapper == "schedule_free":
        tx = fo.schedule_free_sgd(0.25, b1=share)
        parts = [1 / t for t in range(1, 11)]
    else:
        tx = fo.generalized_primal_averaging(fo.sgd(0.25), share, 0.75)
        parts = [0.25] * 10
    x = z = y = np.float64(1.0)
    p, state = jnp.array(1.0), tx.init(jnp.array(1.0))
    for t, part in enumerate(parts):
        updates, state = tx.update(p**3, state, p)
        p = fo.apply_updates(p, updates)
        z -= 0.25 * y**3
        x = (1 - part) * x + part * z
        y = share(t) * x + (1 - share(t)) * z
        np.testing.assert_allclose([p, fo.eval_params(state, p)], [y, x], rtol=1e-12)


def test_a_share_that_is_set_between_updates_does_not_move_the_average():
    tx, y = fo.schedule_free_sgd(0.25), jnp.array(1.0)
    y, state = descend(tx, lambda y: y, y, 5)
    edited = fo.set_hyperparams(state, b1=0.5, tx=tx)
    assert fo.eval_params(edited, y) == fo.eval_params(state, y)


def test_leaves_with_fewer_gradients_are_averaged_by_their_own():
    tx = fo.chain(fo.clip(1e6), fo.schedule_free_sgd(0.25, b1=0.5, r=1.0))
    params = {"a": jnp.array(1.0), "b": jnp.array([2.0, 3.0])}
    alone = fo.schedule_free_sgd(0.25, b1=0.5, r=1.0)
    b, b_state = descend(alone, lambda y: y, params["b"], 2)
    state = tx.init(params)
    for t in range(4):
        grads = params if t % 2 else params | {"b": None}
        updates, state = tx.update(grads, state, params)
        params = fo.apply_updates(params, updates)
    assert_close(params["b"], b, rtol=1e-6)
    assert_close(fo.eval_params(state, params)["b"], fo.eval_params(b_state, b), rtol=1e-6)


def test_averages_of_states_that_are_vmapped_are_those_of_each():
    tx = fo.schedule_free_sgd(0.25)
    starts = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ys, states = jax.vmap(lambda y: descend(tx, lambda y: y, y, 3))(starts)
    whole = fo.eval_params(states, ys)
    assert_close(whole, jax.vmap(fo.eval_params)(states, ys))
    y, state = descend(tx, lambda y: y, starts[1], 3)
    assert_close(whole[1], fo.eval_params(state, y), rtol=1e-6)


def test_parts_with_other_optimizers_are_evaluated_where_they_train():
    params = {"w": jnp.ones(2), "b": jnp.ones(3)}
    tx = fo.partition(
        {"free": fo.schedule_free_sgd(0.5), "plain": fo.sgd(0.5)}, {"w": "free", "b": "plain"}
    )
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(params, state, params)
        params = fo.apply_updates(params, updates)
    found = fo.schedule_free_eval_params(state, params)
    _, alone = descend(fo.schedule_free_sgd(0.5), lambda y: y, jnp.ones(2), 3)
    assert (found["b"] == params["b"]).all()
    assert_close(found["w"], fo.eval_params(alone, params["w"]))
    assert jnp.abs(found["w"] - params["w"]).max() > 1e-3


def test_states_without_an_average_are_refused():
    state = fo.adam(0.1).init(jnp.ones(2))
    with pytest.raises(ValueError, match="does not contain a state of schedule_free"):
        fo.schedule_free_eval_params(state, jnp.ones(2))


def test_an_average_that_is_the_last_point_leaves_the_optimizer_as_it_is():
    params = problem.arrays()
    grads = jax.tree.map(jnp.float32, problem.normal(np.float32, 1, (5,)))
    tx = fo.generalized_primal_averaging(fo.adamw(0.1), eval_interp_coeff=0.0)
    _, _, plain = problem.train(fo.adamw(0.1), params, grads)
    assert_close(problem.train(tx, params, grads)[2], plain, rtol=1e-5, atol=1e-6)
