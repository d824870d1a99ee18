import inspect

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

GRADS = np.random.default_rng(0).uniform(0.5, 2.0, (30, 5)).astype(np.float32)


def updates_of(tx, grads):
    """Returns all updates of one leaf, stacked."""
    state, found = tx.init(grads[0]), []
    for g in grads:
        u, state = tx.update(g, state, g)  # with any parameters
        found.append(u)
    return np.stack(found)


def test_the_first_step_is_of_the_size_of_eps():
    tx = fo.scale_by_adadelta(rho=0.75, eps=1e-4)
    g = np.array([2.0, -8.0])
    expected = np.sqrt(1e-4) / np.sqrt(0.25 * g**2 + 1e-4) * g
    np.testing.assert_allclose(updates_of(tx, [jnp.asarray(g, jnp.float32)])[0], expected, 1e-6)


def test_the_scale_of_the_loss_does_not_matter():
    tx = fo.scale_by_adadelta(eps=1e-10)
    np.testing.assert_allclose(updates_of(tx, 1024 * GRADS), updates_of(tx, GRADS), rtol=1e-6)


def test_updates_have_the_units_of_the_parameters():
    """Gradients in q = 64 p are 1/64 as large, and steps begin 64 times as large."""
    in_p = updates_of(fo.scale_by_adadelta(eps=1e-14), 64 * GRADS)
    in_q = updates_of(fo.scale_by_adadelta(eps=64**2 * 1e-14), GRADS)
    np.testing.assert_allclose(in_q, 64 * in_p, rtol=1e-6)


def test_with_eps_0_nothing_moves_and_nothing_breaks():
    assert not updates_of(fo.scale_by_adadelta(eps=0.0), np.stack([0 * GRADS[0], GRADS[0]])).any()


def test_the_sum_of_updates_is_of_those_before_the_learning_rate():
    fast, slow = fo.adadelta(1.0), fo.adadelta(0.125)
    np.testing.assert_allclose(updates_of(slow, GRADS), updates_of(fast, GRADS) / 8, rtol=1e-6)


def test_the_penalty_is_a_part_of_the_gradient():
    tx, p = fo.adadelta(weight_decay=0.5), jnp.array([2.0, -4.0])
    updates, state = tx.update(jnp.zeros(2), tx.init(p), p)
    np.testing.assert_allclose(state.scale_by_adadelta.e_g, [0.1, 0.4], rtol=1e-6)
    assert (updates * p < 0).all()


def test_the_signature_is_that_of_optax_with_the_learning_rate_of_the_paper():
    defaults = {k: p.default for k, p in inspect.signature(fo.adadelta).parameters.items()}
    assert list(defaults.items())[:5] == [
        ("learning_rate", 1.0),
        ("rho", 0.9),
        ("eps", 1e-6),
        ("weight_decay", 0.0),
        ("weight_decay_mask", None),
    ]
    with pytest.raises(TypeError, match="learning_rate must be a real number, got None"):
        fo.adadelta(None)
