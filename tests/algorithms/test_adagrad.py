import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

G = jnp.array([3.0, -0.5])
PLAIN = {"initial_accumulator_value": 0.0, "eps": 0.0}


def updates_of(tx, grads):
    """Returns all updates of one leaf, stacked."""

    def step(state, g):
        u, state = tx.update(g, state)
        return state, u

    return jax.jit(lambda: jax.lax.scan(step, tx.init(grads[0]), grads)[1])()


@pytest.mark.parametrize("size", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("lr_decay", [0.0, 0.5])
def test_constant_gradients_of_any_size_give_steps_of_one_over_root_t(size, lr_decay):
    steps = 1000
    tx = fo.scale_by_rss(**PLAIN, lr_decay=lr_decay)
    updates = updates_of(tx, jnp.broadcast_to(size * G, (steps, 2)))
    t = np.arange(1, steps + 1)[:, None]
    expected = np.sign(G) / (np.sqrt(t) * (1 + lr_decay * (t - 1)))
    np.testing.assert_allclose(updates, expected, rtol=1e-5)


@pytest.mark.parametrize(("eps_in_sqrt", "expected"), [(True, 3 / np.sqrt(13)), (False, 3 / 7)])
def test_eps_stands_within_or_outside_the_root(eps_in_sqrt, expected):
    tx = fo.scale_by_rss(0.0, 4.0, eps_in_sqrt=eps_in_sqrt)
    np.testing.assert_allclose(tx.update(G, tx.init(G))[0][0], expected, rtol=1e-6)


@pytest.mark.parametrize("eps_in_sqrt", [True, False])
def test_an_element_rests_until_its_first_gradient(eps_in_sqrt):
    tx = fo.scale_by_rss(**PLAIN, eps_in_sqrt=eps_in_sqrt)
    updates = updates_of(tx, jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, -1e-3]]))
    np.testing.assert_allclose(updates, [[1, 0], [0, 0], [0, -1]], rtol=1e-6)


def test_the_sum_starts_at_the_initial_value():
    state = fo.scale_by_rss(initial_accumulator_value=0.25).init({"w": jnp.zeros(2)})
    assert state.sum_of_squares["w"].tolist() == [0.25, 0.25]
    assert "initial_accumulator_value" not in state.hyperparams


def test_the_rate_slows_by_the_updates_of_each_parameter():
    tx = fo.scale_by_rss(**PLAIN, lr_decay=1.0)
    state = tx.init({"a": 0.0, "b": 0.0})
    _, state = tx.update({"a": 1.0, "b": None}, state)
    updates, _ = tx.update({"a": 1.0, "b": 1.0}, state)
    np.testing.assert_allclose(updates["a"], 1 / (2 * np.sqrt(2)), rtol=1e-6)
    assert updates["b"] == 1
