"""Wishes of optax's users about hyperparameters; docs/asked_for.md has the list."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from ..trees import assert_close, assert_same

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.25])}


def run(tx, params=PARAMS, steps=3, state=None):
    state = tx.init(params) if state is None else state
    for _ in range(steps):
        updates, state = tx.update(params, state, params)
        params = fo.apply_updates(params, updates)
    return params, state


def test_adafactor_is_made_with_a_traced_learning_rate():
    def trained(learning_rate):
        return run(fo.adafactor(learning_rate))[0]

    assert_close(jax.jit(trained)(1e-2), trained(1e-2), rtol=1e-6)


@pytest.mark.parametrize("factory", [fo.adafactor, fo.rmsprop, fo.sgd], ids=lambda f: f.__name__)
def test_a_factory_of_ours_may_have_its_numbers_injected(factory):
    tx = fo.inject_hyperparams(factory)(learning_rate=0.1)
    state = tx.init(PARAMS)
    state.hyperparams["learning_rate"] = 0.01
    found, _ = jax.jit(tx.update)(PARAMS, state, PARAMS)
    plain = factory(0.01)
    assert_close(found, plain.update(PARAMS, plain.init(PARAMS), PARAMS)[0], rtol=1e-6)


class Matrices(eqx.Module):
    """A mask that is a module, which Equinox makes callable and a tree at once."""

    ndim: int = 2

    def __call__(self, params):
        return jax.tree.map(lambda p: p.ndim >= self.ndim, params)


def test_a_mask_that_is_a_module_is_not_a_schedule():
    tx = fo.adamw(0.1, weight_decay=0.5, mask=Matrices())
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["w"], -0.05 * PARAMS["w"], rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], [0.0])


@pytest.mark.parametrize("factory", [fo.adafactor, fo.adamw, fo.rmsprop], ids=lambda f: f.__name__)
def test_a_hyperparameter_set_to_its_own_value_changes_no_bit(factory):
    tx = factory(1e-3)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    state = tx.init(params)
    again = fo.set_hyperparams(state, fo.get_hyperparams(state))
    assert_same(tx.update(params, again, params), tx.update(params, state, params))


def test_hyperparameters_of_bfloat16_parameters_are_float32():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    state = fo.set_hyperparams(fo.adam(1e-3).init(params), b2=0.9995)
    assert fo.get_hyperparams(state)["b2"] == np.float32(0.9995)


def test_learning_rate_norm_and_skipped_steps_are_read_at_any_depth():
    rate = fo.linear_schedule(1.0, 0.0, 10)
    inner = fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(rate))
    tx = fo.chain(fo.zero_nans(), fo.apply_if_finite(inner, 5))
    state = tx.init(PARAMS)
    for g in (3.0, jnp.inf, 4.0):
        _, state = tx.update({"w": jnp.zeros((2, 2)), "b": jnp.array([g])}, state, PARAMS)
    measured = fo.metrics(state)
    assert measured["global_norm"] == 4.0
    assert measured["total_notfinite"] == 1
    assert fo.get_hyperparams(state)["learning_rate"] == np.float32(0.9)


def groups():
    return fo.partition(
        {"kernel": fo.adam(1e-2), "bias": fo.adam(1e-3)}, {"w": "kernel", "b": "bias"}
    )


def test_one_group_gets_another_number_and_the_other_keeps_its_own():
    tx = groups()
    _, state = run(tx)
    edited = fo.set_hyperparams(state, {"bias.scale_by_learning_rate.learning_rate": 0.0})
    updates, _ = tx.update(PARAMS, edited, PARAMS)
    expected, _ = tx.update(PARAMS, state, PARAMS)
    assert_same(updates["w"], expected["w"])
    np.testing.assert_array_equal(updates["b"], [0.0])


def test_one_group_starts_again_and_the_other_continues():
    tx = groups()
    _, state = run(tx)
    mixed = state._replace(bias=tx.init(PARAMS).bias)
    updates, after = tx.update(PARAMS, mixed, PARAMS)
    assert_same(updates["b"], tx.update(PARAMS, tx.init(PARAMS), PARAMS)[0]["b"])
    assert_same(after.kernel, tx.update(PARAMS, state, PARAMS)[1].kernel)


DECOUPLED = [
    fo.acprop,
    fo.adabelief,
    fo.adam_mini,
    fo.adamaxw,
    fo.adamw,
    fo.adan,
    fo.ademamix,
    fo.adopt,
    fo.came,
    fo.cautious_adamw,
    fo.cautious_lion,
    fo.laprop,
    fo.lion,
    fo.nadamw,
    fo.novograd,
    fo.simplified_ademamix,
    fo.spam,
    fo.stable_adamw,
]


@pytest.mark.parametrize("factory", DECOUPLED, ids=lambda f: f.__name__)
def test_decay_is_the_learning_rate_times_weight_decay_times_the_parameter(factory):
    tx, half = factory(0.5, weight_decay=0.25), {"w": jnp.full(3, 4.0)}
    updates, _ = tx.update({"w": jnp.zeros(3)}, tx.init(half), half)
    np.testing.assert_allclose(updates["w"], np.full(3, -0.5 * 0.25 * 4.0), rtol=1e-6)


def test_any_optimizer_decays_by_a_link_in_front_of_it():
    penalized = fo.chain(fo.add_decayed_weights(0.25), fo.rmsprop(0.1))
    grads = jax.tree.map(lambda p: 1.25 * p, PARAMS)
    plain = fo.rmsprop(0.1)
    expected, _ = plain.update(grads, plain.init(PARAMS), PARAMS)
    found, _ = penalized.update(PARAMS, penalized.init(PARAMS), PARAMS)
    assert_close(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (fo.linear_schedule(1.0, 0.25, 0), [0.25, 0.25]),
        (fo.warmup_cosine_decay_schedule(0.0, 1.0, 0, 10), [1.0, 0.5]),
        (fo.warmup_stable_decay_schedule(0.0, 1.0, 0, 0, 10), [1.0, 0.5]),
        (fo.join_schedules([fo.constant_schedule(3.0), fo.constant_schedule(1.0)], [0]), [1.0, 1]),
    ],
    ids=["decay", "warmup", "warmup-and-plateau", "join"],
)
def test_a_phase_without_length_is_skipped(schedule, values):
    np.testing.assert_allclose([schedule(0), schedule(5)], values, rtol=1e-6)
