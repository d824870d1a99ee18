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
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_the_first_step_gives_all_neurons_one_norm_and_keeps_that_of_the_matrix(shape):
    u, _ = update(fo.scale_by_normuon(**EXACT), draw(*shape))
    norm = min(shape) ** 0.5  # of an orthogonal matrix
    np.testing.assert_allclose(jnp.linalg.norm(u, axis=0), norm / shape[1] ** 0.5, rtol=1e-8)


@pytest.mark.usefixtures("x64")
def test_square_matrices_are_muons():
    grads = [draw(4, 4, seed=i) for i in range(3)]
    ours, _ = update(fo.scale_by_normuon(**EXACT), *grads)
    muon, _ = update(fo.scale_by_muon(EXACT["ns_coeffs"], 60, eps=0.0), *grads)
    # The columns of a square orthogonal matrix have norm 1.
    np.testing.assert_allclose(ours, muon, atol=1e-8)


@pytest.mark.usefixtures("x64")
def test_a_neuron_whose_updates_grow_takes_smaller_steps():
    small, large = draw(6, 2), draw(6, 2, seed=1)
    small[:, 1] *= 1e-3
    tx = fo.scale_by_normuon(beta=0.0, nesterov=False, ns_coeffs=((1.0, 0.0, 0.0),), ns_eps=0.0)
    _, state = update(tx, small, small, small)
    u, _ = tx.update(jnp.asarray(large), state)
    ratio = jnp.linalg.norm(u, axis=0) / np.linalg.norm(large, axis=0)
    assert ratio[1] > 2 * ratio[0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
def test_the_second_moment_is_one_real_number_for_each_neuron(dtype):
    params = {
        "w": jnp.ones((3, 5), dtype),
        "v": jnp.ones(4, dtype),
        "none": jnp.zeros((0, 2), dtype),
    }
    tx = fo.scale_by_normuon()
    updates, state = tx.update(params, tx.init(params))
    nu = state.normalize_neurons.nu
    assert {k: x.shape for k, x in nu.items()} == {"w": (1, 5), "v": (1, 4), "none": (1, 2)}
    assert {x.dtype for x in nu.values()} == {jnp.dtype(jnp.float32)}
    assert {k: x.dtype for k, x in updates.items()} == dict.fromkeys(params, jnp.dtype(dtype))


def test_a_gradient_of_zero_makes_no_step():
    u, _ = update(fo.scale_by_normuon(), np.zeros((3, 4), np.float32))
    assert (u == 0).all()
