import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem

PAPER = {"bias_correction_mu": False, "bias_correction_nu": False, "eps": 0.0}


def test_it_is_adam_while_the_second_moment_grows():
    grads = jnp.geomspace(1.0, 1e3, 40)[:, None] * jnp.array([[1.0, -1.0]])
    ours, adams = (
        problem.train(tx, jnp.zeros(2), grads)[2] for tx in (fo.amsgrad(0.1), fo.adam(0.1))
    )
    # Up to rounding: Adam has its bias corrections in another order.
    np.testing.assert_allclose(ours, adams, rtol=1e-6)


def test_the_maximum_stays_when_the_gradients_vanish():
    grads = jnp.array([[4.0], *([[1e-3]] * 2000)])
    _, state, _ = problem.train(fo.scale_by_amsgrad(b2=0.9), jnp.zeros(1), grads)
    assert state.nu_max.tolist() == [16.0]
    assert state.nu[0] < 1e-5
    torchs = problem.train(fo.scale_by_adam(b2=0.9, amsgrad=True), jnp.zeros(1), grads)[1]
    np.testing.assert_allclose(torchs.nu_max, 1.6, rtol=1e-6)


def test_without_corrections_it_is_the_papers():
    tx = fo.scale_by_amsgrad(b1=0.9, b2=0.75, **PAPER)
    updates, _ = tx.update(jnp.array([3.0, -1e-3]), tx.init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, [0.2, -0.2], rtol=1e-6)


@pytest.mark.parametrize("corrected", [True, False])
def test_it_finds_the_minimum_from_which_adam_runs_away(corrected):
    """Theorem 1 of the paper has slopes of 3, -1, -1 in turn on [-1, 1]; the minimum is at -1."""
    paper = {"bias_correction_mu": corrected, "bias_correction_nu": corrected}

    def end(direction):
        def body(carry, t):
            x, state = carry
            g = jnp.where(t % 3 == 1, 3.0, -1.0)
            u, state = direction.update(g, state)
            return (jnp.clip(x - 0.5 * u / jnp.sqrt(t), -1, 1), state), None

        start = (jnp.float32(0.0), direction.init(jnp.float32(0.0)))
        return float(jax.lax.scan(body, start, jnp.arange(1.0, 3000.0))[0][0])

    assert end(fo.scale_by_adam(b1=0.0, b2=0.1)) > 0.9
    assert end(fo.scale_by_amsgrad(b1=0.0, b2=0.1, **paper)) < -0.9
