import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim.core.numerics.moments import bias_correction, interpolate, moment

BETAS = [0.0, 0.5, 0.9, 0.999, 0.9999, 0.999999]


def run(xs, bs):
    """Returns the corrected moment after each value, with the decay that was in force then."""
    m, means = jnp.zeros_like(xs[0]), []
    for t, (x, b) in enumerate(zip(xs, bs, strict=True), start=1):
        m = moment(m, x, b, 1 - b)
        means.append(bias_correction(b, jnp.asarray(t, xs.dtype)) * m)
    return np.array(means)


def plain(xs, bs):
    """Computes the same in float64, by the plain formulas."""
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
def test_a_moment_equals_that_of_adam_with_any_schedule_of_the_decay(decay):
    xs = jnp.asarray(np.random.default_rng(0).standard_normal(30))
    bs = decay(jnp.arange(30.0))
    np.testing.assert_allclose(run(xs, bs), plain(xs, bs), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("t", [1, 2, 3, 10, 100, 10_000, 1_000_000])
def test_bias_corrections_of_float32_keep_their_digits(t):
    bs = jnp.array(BETAS, jnp.float32)
    exact = 1 / -np.expm1(t * np.log(np.maximum(np.float64(bs), 1e-300)))
    np.testing.assert_allclose(bias_correction(bs, jnp.float32(t)), exact, rtol=3e-7)


@pytest.mark.parametrize("b", BETAS)
def test_float32_keeps_the_digits_of_the_first_steps(b):
    xs = jnp.asarray(np.random.default_rng(0).uniform(1.0, 2.0, 20), jnp.float32)
    bs = jnp.full(20, b, jnp.float32)
    np.testing.assert_allclose(run(xs, bs), plain(xs, bs), rtol=1e-6)


@pytest.mark.parametrize("t", [1.0, 2.0, 100.0])
@pytest.mark.parametrize("b", [0.0, 0.9])
def test_the_derivative_of_a_correction_is_finite(t, b):
    assert jnp.isfinite(jax.grad(bias_correction)(b, jnp.float32(t)))


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_equal_ends_give_themselves(weight):
    x = jnp.array([1.0, -0.1, 3e-6, 700.0], jnp.float32)
    np.testing.assert_array_equal(interpolate(x, x, jnp.float32(weight)), x)


def test_weights_of_0_and_1_give_the_ends_exactly():
    mean, x = jnp.array([1e8, 1.2345], jnp.float32), jnp.array([1.2345, 1e8], jnp.float32)
    np.testing.assert_array_equal(interpolate(mean, x, jnp.float32(0.0)), mean)
    np.testing.assert_array_equal(interpolate(mean, x, jnp.float32(1.0)), x)


def test_the_mean_of_a_long_run_does_not_drift():
    """The weights 1 / n are rounded at each step; where ends are equal, that changes nothing."""

    def step(n, mean):
        return interpolate(mean, jnp.float32(1.1), 1 / (1e6 + n))

    assert jax.lax.fori_loop(0, 100_000, step, jnp.float32(1.1)) == np.float32(1.1)


def test_a_mean_stays_between_its_ends():
    rng = np.random.default_rng(0)
    mean, x = (jnp.asarray(rng.uniform(1.0, 2.0, 1000), jnp.float32) for _ in range(2))
    for weight in (0.1, 0.4999, 0.5001, 0.9):
        between = interpolate(mean, x, jnp.float32(weight))
        assert (between >= jnp.minimum(mean, x) * (1 - 1e-6)).all()
        assert (between <= jnp.maximum(mean, x) * (1 + 1e-6)).all()
