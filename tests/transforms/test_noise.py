"""Random links: the numbers are a function of key, step and leaf only."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same

PARAMS = {"a": jnp.zeros(20_000), "b": jnp.zeros((100, 200))}
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)


def draw(key, steps=1, params=PARAMS, eta=1.0, gamma=0.0, grads=None):
    """Returns the updates of some steps with gradients of zero: the noise."""
    tx = fo.add_noise(eta, gamma, key)
    state, found = tx.init(params), []
    step = jax.jit(tx.update)
    for _ in range(steps):
        u, state = step(jax.tree.map(jnp.zeros_like, params) if grads is None else grads, state)
        found.append(u)
    return found


def flat(trees):
    return np.stack([np.asarray(x).ravel() for tree in trees for x in jax.tree.leaves(tree)])


def test_the_noise_is_standard_normal_and_independent_between_steps_and_leaves():
    noise = flat(draw(0, steps=3))
    n = noise.shape[1]
    np.testing.assert_allclose(noise.mean(1), 0, atol=4 / n**0.5)
    np.testing.assert_allclose(noise.std(1), 1, atol=4 / n**0.5)
    np.testing.assert_allclose(np.corrcoef(noise), np.eye(len(noise)), atol=5 / n**0.5)
    within = np.mean(np.sort(noise[0]) < 1.0)
    np.testing.assert_allclose(within, 0.841345, atol=4 / n**0.5)


def test_its_variance_is_the_papers():
    found = draw(0, steps=4, eta=0.25, gamma=0.55)
    expected = [(0.25 / (1 + t) ** 0.55) ** 0.5 for t in range(4)]
    np.testing.assert_allclose([tree["a"].std() for tree in found], expected, rtol=0.02)


def test_it_is_added_to_the_updates():
    grads = jax.tree.map(lambda x: x + 3.0, ZERO)
    with_grads = draw(0, grads=grads)[0]
    assert_close(with_grads, jax.tree.map(lambda n: n + 3.0, draw(0)[0]), atol=1e-6)


SAME_KEYS = [7, np.int64(7), jnp.array(7), jax.random.key(7), jax.random.PRNGKey(7)]


@pytest.mark.parametrize("key", SAME_KEYS, ids=lambda k: type(k).__name__)
def test_a_key_may_be_written_in_several_ways(key):
    assert_same(draw(key), draw(7))
    assert not np.array_equal(draw(8)[0]["a"], draw(7)[0]["a"])


def test_a_key_of_another_generator_draws_its_numbers():
    key = jax.random.key(7, impl="rbg")
    tx = fo.add_noise(1.0, 0.0, key)
    state = tx.init(PARAMS)
    assert state.keys["key"].shape == (4,)
    expected = jax.random.fold_in(jax.random.fold_in(key, 0), 1)
    found = tx.update(ZERO, state)[0]["b"]
    assert_same(found, jax.random.normal(expected, found.shape))


def test_a_restored_run_continues_with_the_same_random_numbers():
    tx = fo.noisy_sgd(0.1, key=3)
    state = tx.init(PARAMS)
    _, state = tx.update(ZERO, state)
    restored = pickle.loads(pickle.dumps(jax.device_get(state)))
    again = copy.deepcopy(fo.noisy_sgd(0.1, key=99))
    assert_same(again.update(ZERO, restored)[0], tx.update(ZERO, state)[0])


def test_a_leaf_without_a_gradient_leaves_the_noise_of_others_as_it_is():
    tx = fo.add_noise(1.0, 0.0, 0)
    both, state = tx.update(ZERO, tx.init(PARAMS))
    one, other = tx.update({"a": None, "b": ZERO["b"]}, tx.init(PARAMS))
    assert one["a"] is None
    assert_same(one["b"], both["b"])
    assert_same(other, state)
    masked = fo.masked(tx, {"a": False, "b": True})
    assert_same(masked.update(ZERO, masked.init(PARAMS))[0]["b"], both["b"])


def test_many_seeds_at_once():
    def train(seed):
        tx = fo.noisy_sgd(0.1, key=seed)
        return problem.train(tx, problem.arrays(), grads)[0]

    grads = jax.tree.map(jnp.asarray, problem.normal(np.float32, 1, leading=(3,)))
    grads = jax.tree.map(lambda g: g.astype(np.float32), grads)
    many = jax.vmap(train)(jnp.arange(3))
    for seed in range(3):
        assert_close(jax.tree.map(lambda x, i=seed: x[i], many), train(seed), rtol=1e-5, atol=1e-6)


def test_keys_do_not_ask_for_another_program():
    a, b = fo.add_noise(1.0, 0.0, 0), fo.add_noise(2.0, 1.0, jax.random.key(5))
    assert a.update is fo.add_noise(2.0, 1.0, 5).update
    assert hash(b) == hash(fo.add_noise(2.0, 1.0, jax.random.key(5)))
    assert b == fo.add_noise(2.0, 1.0, jax.random.key(5))
    assert a != fo.add_noise(1.0, 0.0, 1)


def test_complex_noise_has_the_variance_in_both_parts_together():
    noise = draw(0, params={"a": jnp.zeros(20_000, np.complex64)})[0]["a"]
    np.testing.assert_allclose(np.mean(np.abs(noise) ** 2), 1, rtol=0.03)
    np.testing.assert_allclose(np.mean(noise.real * noise.imag), 0, atol=0.02)
    np.testing.assert_allclose(noise.real.std(), noise.imag.std(), rtol=0.03)
