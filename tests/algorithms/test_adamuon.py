import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

EXACT = {"ns_coeffs": ((1.5, -0.5, 0.0),), "ns_steps": 60, "ns_eps": 0.0}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def update(tx, *grads):
    """Returns the last of the updates, and the state."""
    state = tx.init(jnp.asarray(grads[0]))
    for g in grads:
        u, state = tx.update(jnp.asarray(g), state)
    return u, state


@pytest.mark.usefixtures("x64")
def test_the_first_step_is_the_sign_of_the_orthogonal_matrix():
    g = draw(5, 3)
    u, _ = update(fo.scale_by_adamuon(**EXACT), g)
    left, _, right = np.linalg.svd(np.sign(g), full_matrices=False)
    np.testing.assert_allclose(u, 0.2 * np.sign(left @ right), rtol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("consistent_rms", [0.2, 1.0])
def test_every_matrix_of_a_stack_has_the_root_mean_square_that_was_asked_for(consistent_rms):
    tx = fo.scale_by_adamuon(consistent_rms=consistent_rms)
    u, _ = update(tx, *(draw(4, 5, 3, seed=i) for i in range(3)))
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(u**2, axis=(1, 2))), consistent_rms, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_only_signs_of_the_momentum_count_unless_asked_otherwise():
    g = draw(5, 3)
    first, second = (update(fo.scale_by_adamuon(), x)[0] for x in (g, np.sign(g)))
    np.testing.assert_allclose(first, second, atol=1e-12)
    plain = fo.scale_by_adamuon(use_sign=False)
    assert jnp.abs(update(plain, g)[0] - update(plain, np.sign(g))[0]).max() > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
def test_the_second_moment_is_real_and_shaped_like_the_parameter(dtype):
    params = {
        "w": jnp.ones((3, 5), dtype),
        "v": jnp.ones(4, dtype),
        "none": jnp.zeros((0, 2), dtype),
    }
    tx = fo.scale_by_adamuon()
    updates, state = tx.update(params, tx.init(params))
    nu = state.normalize_elements.nu
    assert {k: x.shape for k, x in nu.items()} == {k: p.shape for k, p in params.items()}
    assert {x.dtype for x in nu.values()} == {jnp.dtype(jnp.float32)}
    assert {k: x.dtype for k, x in updates.items()} == dict.fromkeys(params, jnp.dtype(dtype))


def test_a_gradient_of_zero_makes_no_step():
    u, _ = update(fo.scale_by_adamuon(), np.zeros((3, 4), np.float32))
    assert (u == 0).all()
