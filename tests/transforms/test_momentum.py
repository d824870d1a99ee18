import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo


def run(tx, grads, edit=lambda t, state: state):
    """Returns the updates of all steps, and the state at the end."""
    state, updates = tx.init(grads[0]), []
    update = jax.jit(tx.update)
    for t, g in enumerate(grads):
        u, state = update(g, edit(t, state))
        updates.append(u)
    return np.array(updates), state


ONES = jnp.ones((4, 2))


def test_the_first_gradient_enters_the_trace_undampened():
    updates, _ = run(fo.trace(0.5, dampening=0.75), ONES)
    np.testing.assert_allclose(updates[:, 0], [1.0, 0.75, 0.625, 0.5625])


def test_the_trace_of_a_constant_is_a_geometric_sum():
    updates, state = run(fo.trace(0.5), ONES)
    np.testing.assert_allclose(updates[:, 0], [1.0, 1.5, 1.75, 1.875])
    np.testing.assert_allclose(state.trace, updates[-1])


def test_nesterov_looks_one_decay_ahead():
    updates, _ = run(fo.trace(0.5, nesterov=True), ONES)
    np.testing.assert_allclose(updates[:, 0], [1.5, 1.75, 1.875, 1.9375])


def test_a_decay_above_one_is_allowed():
    updates, _ = run(fo.trace(2.0), ONES)
    np.testing.assert_allclose(updates[:, 0], [1.0, 3.0, 7.0, 15.0])


def test_a_decay_of_none_keeps_no_trace():
    tx = fo.trace(None)
    updates, state = run(tx, ONES)
    np.testing.assert_array_equal(updates, ONES)
    assert not any(x.shape == (2,) for x in jax.tree.leaves(state))
    assert "decay" not in state.hyperparams


def test_a_plain_trace_keeps_its_decay_and_nothing_else():
    state = fo.trace(0.5).init(ONES)
    assert state._fields == ("count", "hyperparams", "trace")
    assert list(state.hyperparams) == ["decay"]


def test_dampening_of_zero_and_no_dampening_give_the_same_updates():
    plain, zero = (run(fo.trace(0.5, dampening=d), GROWING)[0] for d in (None, 0.0))
    np.testing.assert_array_equal(plain, zero)


GROWING = jnp.arange(1.0, 9.0).reshape(4, 2)
"""The first column is 1, 3, 5, 7."""


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    ("rest_at_zero", "last"), [(True, 0.5 * 1 + 7), (False, 0.5 * 5 + 7)], ids=["rest", "forget"]
)
def test_a_decay_of_zero_forgets_the_past_or_lets_the_trace_rest(rest_at_zero, last, nesterov):
    def edit(t, state):
        return fo.set_hyperparams(state, decay={0: 0.5, 1: 0.0, 2: 0.0, 3: 0.5}[t])

    tx = fo.trace(0.5, nesterov, rest_at_zero=rest_at_zero)
    updates, _ = run(tx, GROWING, edit)
    expected = [1.5, 3.0, 5.0, 7 + 0.5 * last] if nesterov else [1.0, 3.0, 5.0, last]
    np.testing.assert_allclose(updates[:, 0], expected)


@pytest.mark.parametrize(
    ("rest_at_zero", "expected"),
    [(True, [1.0, 1.0, 1.0, 0.75]), (False, [1.0, 0.25, 0.375, 0.4375])],
    ids=["rest", "forget"],
)
def test_with_rest_at_zero_the_first_gradient_with_momentum_enters_undampened(
    rest_at_zero, expected
):
    def edit(t, state):
        return fo.set_hyperparams(state, decay=0.0 if t < 2 else 0.5)

    tx = fo.trace(0.0, dampening=0.75, rest_at_zero=rest_at_zero)
    np.testing.assert_allclose(run(tx, ONES, edit)[0][:, 0], expected)


def test_rest_at_zero_is_refused_without_a_trace():
    with pytest.raises(ValueError, match="trace: rest_at_zero=True needs momentum, got None"):
        fo.trace(None, rest_at_zero=True)


def test_a_leaf_whose_first_gradient_comes_late_starts_its_trace_undampened():
    tx, params = fo.trace(0.5, dampening=0.75), {"a": jnp.ones(1), "b": jnp.ones(1)}
    state = tx.init(params)
    _, state = tx.update({**params, "b": None}, state, params)
    updates, _ = tx.update(params, state, params)
    assert (float(updates["a"][0]), float(updates["b"][0])) == (0.75, 1.0)


@pytest.mark.parametrize("debias", [True, False])
def test_the_average_of_a_constant(debias):
    updates, state = run(fo.ema(0.5, debias=debias), ONES)
    expected = [1.0] * 4 if debias else [0.5, 0.75, 0.875, 0.9375]
    np.testing.assert_allclose(updates[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(state.ema, 0.9375)


def test_the_state_of_ema_is_that_of_optax():
    state, theirs = (run(m.ema(0.9, debias=False), GROWING)[1] for m in (fo, optax))
    np.testing.assert_allclose(state.ema, theirs.ema, rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("debias", [True, False])
def test_an_edited_decay_acts_on_the_biased_average(debias):
    grads = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)))
    decay = [0.9, 0.9, 0.5, 0.5, 0.0, 0.7, 0.99, 0.99]
    updates, _ = run(
        fo.ema(0.9, debias=debias), grads, lambda t, s: fo.set_hyperparams(s, decay=decay[t])
    )
    m = 0.0
    for t, b in enumerate(decay):
        m = b * m + (1 - b) * np.asarray(grads[t])
        expected = m / (1 - b ** (t + 1)) if debias else m
        np.testing.assert_allclose(updates[t], expected, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_infinite_gradients_do_not_enter_a_trace_that_rests(nesterov):
    tx = fo.trace(0.5, nesterov=nesterov, rest_at_zero=True)
    params = {"w": jnp.zeros(2)}
    _, state = tx.update({"w": jnp.array([1.0, 2.0])}, tx.init(params), params)
    resting = fo.set_hyperparams(state, decay=0.0)
    _, after = tx.update({"w": jnp.array([jnp.inf, jnp.nan])}, resting, params)
    np.testing.assert_array_equal(after.trace["w"], state.trace["w"])
