import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim.core.moments import mean_weights, running_mean


def run(xs, bs):
    """The running mean after each value, with the decay that was in force then."""
    mean, last, means = jnp.zeros_like(xs[0]), jnp.zeros_like(bs[0]), []
    for t, (x, b) in enumerate(zip(xs, bs, strict=True), start=1):
        mean = running_mean(mean, x, mean_weights(jnp.asarray(t, xs.dtype), b, last))
        last = b
        means.append(mean)
    return np.array(means)


def biased(xs, bs):
    """Adam's own form, in float64."""
    m, means = 0.0, []
    for t, (x, b) in enumerate(zip(np.float64(xs), np.float64(bs), strict=True), start=1):
        m = b * m + (1 - b) * x
        means.append(m / (1 - b**t))
    return np.array(means)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "decay",
    [
        lambda t: 0.9 + 0 * t,
        lambda t: 0 * t,
        lambda t: t / 40,
        lambda t: 0.9 - t / 40,
        lambda t: jnp.where(t % 3 == 0, 0.0, 0.9),
    ],
    ids=["constant", "zero", "rising", "falling", "off and on"],
)
def test_is_the_quotient_of_the_biased_form_whatever_the_decay_does(decay):
    xs = jnp.asarray(np.random.default_rng(0).standard_normal(30))
    bs = decay(jnp.arange(30.0))
    np.testing.assert_allclose(run(xs, bs), biased(xs, bs), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("b", [0.0, 0.5, 0.9, 0.999, 0.9999, 0.999999])
@pytest.mark.parametrize("x", [1.0, -0.1, 3e-6])
def test_a_constant_is_its_own_mean_from_the_first_step_on(b, x):
    xs = jnp.full(20, x, jnp.float32)
    np.testing.assert_array_equal(run(xs, jnp.full(20, b, jnp.float32)), np.asarray(xs))


def test_a_mean_stays_within_what_it_is_of():
    xs = jnp.asarray(np.random.default_rng(0).uniform(1.0, 2.0, 50), jnp.float32)
    means = run(xs, jnp.full(50, 0.99, jnp.float32))
    assert (means >= xs.min() * (1 - 1e-6)).all()
    assert (means <= xs.max() * (1 + 1e-6)).all()


@pytest.mark.parametrize("b", [0.9, 0.999, 0.9999, 0.999999])
def test_float32_keeps_the_digits_of_the_first_steps(b):
    xs = jnp.asarray(np.random.default_rng(0).uniform(1.0, 2.0, 20), jnp.float32)
    bs = jnp.full(20, b, jnp.float32)
    np.testing.assert_allclose(run(xs, bs), biased(xs, bs), rtol=1e-6)


def test_a_small_value_after_a_large_one_keeps_its_digits():
    xs = jnp.array([1e8, 1.2345], jnp.float32)
    assert run(xs, jnp.zeros(2, jnp.float32))[-1] == np.float32(1.2345)


@pytest.mark.parametrize("t", [1.0, 2.0, 100.0])
@pytest.mark.parametrize("b", [0.0, 0.9])
def test_its_derivative_by_the_decay_is_finite(t, b):
    def mean(b):
        return running_mean(jnp.float32(2.0), jnp.float32(3.0), mean_weights(t, b, last))

    t, last = jnp.float32(t), jnp.float32(0.5)
    assert jnp.isfinite(jax.grad(mean)(b))
