import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

G = jnp.array([3.0, -0.5])


def one_step(tx, g=G):
    return tx.update(g, tx.init(g))


def test_the_first_step_is_longer_than_one_by_the_bias():
    updates, _ = one_step(fo.scale_by_rms(decay=0.75, eps=0.0))
    np.testing.assert_allclose(updates, [2.0, -2.0], rtol=1e-6)
    updates, _ = one_step(fo.scale_by_rms(decay=0.75, eps=0.0, bias_correction=True))
    np.testing.assert_allclose(updates, [1.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize(("eps_in_sqrt", "expected"), [(True, 3 / np.sqrt(13)), (False, 3 / 7)])
def test_eps_stands_within_or_outside_the_root(eps_in_sqrt, expected):
    updates, _ = one_step(fo.scale_by_rms(decay=0.0, eps=4.0, eps_in_sqrt=eps_in_sqrt))
    np.testing.assert_allclose(updates[0], expected, rtol=1e-6)


def test_the_mean_of_squares_starts_at_the_initial_scale():
    state = fo.scale_by_rms(initial_scale=4.0).init({"w": jnp.zeros(2)})
    assert state.nu["w"].tolist() == [4.0, 4.0]
    assert "initial_scale" not in state.hyperparams


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e10])
@pytest.mark.parametrize("steps", [1, 50])
def test_a_centred_variance_of_a_constant_is_not_negative_by_rounding(size, steps):
    tx, g = fo.scale_by_rms(centered=True, decay=0.9), size * G
    state = tx.init(g)
    for _ in range(steps):
        updates, state = tx.update(g, state)
        assert jnp.isfinite(updates).all()


def test_only_the_centred_form_keeps_a_mean():
    assert "mu" in fo.scale_by_rms(centered=True).init(G)
    assert "mu" not in fo.scale_by_rms().init(G)


def test_the_learning_rate_multiplies_the_trace_and_does_not_enter_it():
    tx = fo.rmsprop(1.0, decay=0.0, eps=0.0, momentum=0.5)
    state = tx.init(G)
    _, state = tx.update(G, state)
    updates, _ = tx.update(G, fo.set_hyperparams(state, learning_rate=0.1))
    np.testing.assert_allclose(updates, [-0.15, 0.15], rtol=1e-6)
