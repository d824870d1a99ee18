from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.core.numerics.precision import one_minus_power

from .. import problem

B2 = (0.9, 0.99, 0.999, 0.9999, 0.99999, 1 - 2.0**-23)
STEPS = (*range(1, 21), 50, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def rectification(b2, t, threshold=5):
    """Computes the factor r of the paper in 60 digits, or returns 1 if it is not defined."""
    with localcontext() as context:
        context.prec = 60
        b = Decimal(float(b2))
        end = 2 / (1 - b) - 1
        rho = end - 2 * t * b**t / (1 - b**t)
        if rho <= threshold:
            return 1.0
        return float(((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho)).sqrt())


def update_of_ones(tx, t, b2=0.999):
    """Returns the update at step t of a run whose gradients are all 1."""
    g = jnp.ones(())
    state = fo.set_hyperparams(tx.init(g), b2=b2)
    before = jnp.asarray(t - 1, jnp.int32)
    betas = (state.hyperparams["b1"], jax.lax.stop_gradient(state.hyperparams["b2"]))
    mu, nu = (one_minus_power(b, before.astype(b.dtype)) for b in betas)
    return tx.update(g, state._replace(count=before, mu=mu, nu=nu))[0]


def test_the_rectification_is_right_from_the_first_step_to_the_ten_millionth():
    b2, t = np.float32(B2), np.array(STEPS)
    of_all = jax.vmap(jax.vmap(update_of_ones, (None, 0, None)), (None, None, 0))
    ours = jax.jit(of_all, static_argnums=0)(fo.scale_by_radam(eps=0.0), t, b2)
    expected = [[rectification(b, int(n)) for n in t] for b in b2]
    np.testing.assert_allclose(ours, expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("b2", "threshold", "first"),
    [(0.999, 5.0, 6), (0.999, 4.0, 5), (0.9, 5.0, 6), (0.75, 5.0, 8), (0.999, 4.99, 5)],
)
def test_the_second_moment_is_used_once_it_is_known(b2, threshold, first):
    assert rectification(b2, first - 1, threshold) == 1.0 != rectification(b2, first, threshold)
    tx = fo.scale_by_radam(b2=b2, threshold=threshold)
    params = jnp.zeros(1)
    _, _, updates = problem.train(tx, params, jnp.full((12, 1), 1e4))
    np.testing.assert_allclose(updates[: first - 1], 1e4, rtol=1e-6)
    assert (updates[first - 1 :] < 1).all()


@pytest.mark.usefixtures("x64")
def test_with_a_short_memory_it_stays_momentum():
    tx, b2 = fo.scale_by_radam(), jnp.array([0.0, 1 / 3, 0.5, 0.6, 2 / 3])
    grads = jnp.asarray(problem.normal(np.float64, 0, (400,))["b"])

    def run(b2):
        state = fo.set_hyperparams(tx.init(grads[0]), b2=b2)
        return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], state, grads)[1]

    momentum = problem.train(fo.ema(0.9), grads[0], grads)[2]
    np.testing.assert_allclose(
        jax.jit(jax.vmap(run))(b2), np.stack([momentum] * 5), rtol=1e-12, atol=1e-14
    )


def test_its_derivative_by_b2_is_finite():
    b2 = jnp.array([0.0, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.999])
    slope = jax.grad(lambda b2, t: update_of_ones(fo.scale_by_radam(), t, b2))
    of_all = jax.vmap(jax.vmap(slope, (None, 0)), (0, None))
    assert jnp.isfinite(jax.jit(of_all)(b2, jnp.array([1, 6, 1_000]))).all()


def test_in_the_long_run_it_is_adam():
    grads = jnp.asarray(problem.normal(np.float32, 0, (300,))["b"], jnp.float32)
    ours, adams = (
        problem.train(tx, jnp.zeros(4), grads)[2]
        for tx in (fo.scale_by_radam(b2=0.875), fo.scale_by_adam(b2=0.875))
    )
    np.testing.assert_allclose(ours[200:], adams[200:], rtol=2e-6)
    assert (jnp.abs(ours[10:20]) < jnp.abs(adams[10:20])).all()


@pytest.mark.parametrize(("before", "size"), [(False, 1.0), (True, 1 - 0.999**10)])
def test_eps_is_corrected_or_not(before, size):
    tx = fo.scale_by_radam(eps=0.25, eps_before_correction=before)
    expected = rectification(0.999, 10) / (1 + 0.25 / np.sqrt(size))
    np.testing.assert_allclose(update_of_ones(tx, 10), expected, rtol=1e-4)


def test_a_zero_gradient_moves_nothing():
    _, _, updates = problem.train(fo.scale_by_radam(), jnp.zeros(2), jnp.zeros((10, 2)))
    assert (updates == 0).all()
