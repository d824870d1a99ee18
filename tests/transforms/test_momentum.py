import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo


def run(tx, grads, edit=lambda t, state: state):
    """Updates of all steps, and the state at the end."""
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


def test_while_the_decay_is_zero_the_trace_rests():
    def edit(t, state):
        return fo.set_hyperparams(state, decay={0: 0.5, 1: 0.0, 2: 0.0, 3: 0.5}[t])

    updates, _ = run(fo.trace(0.5), ONES, edit)
    np.testing.assert_allclose(updates[:, 0], [1.0, 1.0, 1.0, 1.5])


def test_a_momentum_that_is_switched_on_later_starts_with_its_first_gradient():
    def edit(t, state):
        return fo.set_hyperparams(state, decay=0.0 if t < 2 else 0.5)

    updates, _ = run(fo.trace(0.0, dampening=0.75), ONES, edit)
    np.testing.assert_allclose(updates[:, 0], [1.0, 1.0, 1.0, 0.75])


@pytest.mark.parametrize("debias", [True, False])
def test_the_average_of_a_constant(debias):
    updates, state = run(fo.ema(0.5, debias=debias), ONES)
    expected = [1.0] * 4 if debias else [0.5, 0.75, 0.875, 0.9375]
    np.testing.assert_allclose(updates[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(state.ema, 1.0)


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
