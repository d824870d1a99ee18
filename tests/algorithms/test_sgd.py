import jax.numpy as jnp
import numpy as np

import functional_optim as fo


def test_the_learning_rate_multiplies_the_trace_and_does_not_enter_it():
    tx, g = fo.sgd(1.0, momentum=0.5), jnp.ones(2)
    state = tx.init(g)
    _, state = tx.update(g, state)
    updates, _ = tx.update(g, fo.set_hyperparams(state, learning_rate=0.1))
    np.testing.assert_allclose(updates, -0.15, rtol=1e-6)


def test_descends_a_quadratic_as_the_closed_form_says():
    tx, p = fo.sgd(0.25), jnp.array([1.0, -3.0])
    state, start = tx.init(p), p
    for _ in range(5):
        updates, state = tx.update(p, state)
        p = fo.apply_updates(p, updates)
    np.testing.assert_allclose(p, start * 0.75**5, rtol=1e-6)
