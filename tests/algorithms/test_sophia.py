"""Sophia, with exact and estimated diagonals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim.second_order import gauss_newton_bartlett_estimator, hessian_diag

CURVATURE = {"w": jnp.array([[3.0, 0.5], [0.1, 20.0]]), "b": jnp.array([-1.0, 2.0])}
PARAMS = {"w": jnp.array([[1.0, -1.0], [2.0, 0.5]]), "b": jnp.array([0.3, -0.7])}


def loss(params):
    terms = jax.tree.map(lambda c, p: jnp.sum(c * p**2 / 2), CURVATURE, params)
    return sum(jax.tree.leaves(terms))


def exact(library=fo):
    """Returns an estimator without chance, which computes the diagonal itself."""

    def update(updates, state, params=None, *, obj_fn, **extra):
        return hessian_diag(obj_fn, params), state

    return library.GradientTransformationExtraArgs(lambda params: (), update)


def trained(library, tx, steps=12):
    @jax.jit
    def step(params, state, size):
        grads = fo.tree.scale(size, jax.grad(loss)(params))
        updates, state = tx.update(grads, state, params, obj_fn=loss)
        return library.apply_updates(params, updates), state

    params, state = PARAMS, tx.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        for i in range(steps):
            params, state = step(params, state, np.float32(1 + 0.5 * np.cos(i)))
    return params


def oracle(
    learning_rate, b1, b2, eps, gamma, interval, weight_decay, clip=1.0, correct=True, steps=12
):
    """Follows Liu et al., Algorithm 3, with the estimate after the step, as in optax."""
    p = {k: np.asarray(x, np.float64) for k, x in PARAMS.items()}
    m, h = ({k: np.zeros_like(x) for k, x in p.items()} for _ in range(2))
    for i in range(steps):
        for k, c in CURVATURE.items():
            c = np.asarray(c, np.float64)
            g = c * p[k] * (1 + 0.5 * np.cos(i))
            m[k] = b1 * m[k] + (1 - b1) * g
            mean = m[k] / (1 - b1 ** (i + 1)) if correct else m[k]
            u = np.clip(mean / np.maximum(gamma * h[k], eps), -clip, clip)
            if i % interval == 0:
                h[k] = b2 * h[k] + (1 - b2) * c
            p[k] = p[k] - learning_rate * (u + weight_decay * p[k])
    return p


@pytest.mark.parametrize("interval", [1, 3, 50])
@pytest.mark.parametrize("correct", [True, False])
def test_it_agrees_with_its_oracle(interval, correct):
    numbers = {"b1": 0.8, "b2": 0.7, "eps": 1e-6, "gamma": 2.0, "weight_decay": 0.1}
    tx = fo.sophia(
        0.05,
        update_interval=interval,
        hessian_diagonal_fn=exact(),
        bias_correction=correct,
        **numbers,
    )
    found = trained(fo, tx)
    expected = oracle(0.05, interval=interval, correct=correct, **numbers)
    for k, x in expected.items():
        np.testing.assert_allclose(found[k], x, rtol=1e-4, atol=1e-6)


def test_it_has_optaxs_numbers():
    numbers = {"gamma": 1.0, "update_interval": 4, "weight_decay": 0.1, "b2": 0.5}
    theirs = optax.contrib.sophia(0.03, hessian_diagonal_fn=exact(optax), **numbers)
    ours = fo.sophia(0.03, hessian_diagonal_fn=exact(), **numbers)
    expected, found = trained(optax, theirs), trained(fo, ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_one_program_serves_every_interval_of_estimates():
    calls = []

    def update(updates, state, params=None, **extra):
        calls.append(1)
        jax.debug.callback(lambda: ran.append(1))
        return jax.tree.map(jnp.ones_like, params), state

    ran = []
    estimator = fo.GradientTransformation(lambda params: (), update)
    tx = fo.scale_by_sophia(update_interval=3, hessian_diagonal_fn=estimator)
    step, state = jax.jit(tx.update), tx.init(PARAMS)
    for _ in range(7):
        _, state = step(PARAMS, state, PARAMS)
    jax.effects_barrier()
    assert len(ran) == 3, "at 0, 3 and 6"
    state = fo.set_hyperparams(state, update_interval=1.0)
    for _ in range(2):
        _, state = step(PARAMS, state, PARAMS)
    jax.effects_barrier()
    assert (len(ran), step._cache_size()) == (5, 1)


def test_every_element_moves_by_the_learning_rate_at_most():
    tx = fo.sophia(0.05, weight_decay=0.0)
    updates, _ = tx.update(jax.grad(loss)(PARAMS), tx.init(PARAMS), PARAMS, obj_fn=loss)
    assert all(jnp.all(jnp.abs(u) <= 0.05 * (1 + 1e-6)) for u in jax.tree.leaves(updates))


def test_it_descends_with_the_value_fn_that_the_optimizer_hands_on():
    def bowl(params):
        return sum(jnp.sum(jnp.array([9.0, 0.5]) * p**2) for p in jax.tree.leaves(params))

    opt = fo.optim.Optimizer({"w": jnp.array([1.0, -2.0])}, fo.sophia(0.03, gamma=1.0))
    for _ in range(150):
        opt.minimize(bowl)
    assert bowl(opt.params) < 0.1


def test_a_part_of_the_parameters_has_an_estimate_of_its_own():
    tx = fo.partition({"a": fo.sophia(0.1), "b": fo.sgd(0.1)}, {"w": "a", "b": "b"})
    _, state = tx.update(jax.grad(loss)(PARAMS), tx.init(PARAMS), PARAMS, obj_fn=loss)
    nu = state.a.scale_by_sophia.sophia_step.nu["w"]
    np.testing.assert_allclose(nu, 0.01 * CURVATURE["w"], rtol=1e-5)


def test_errors_name_the_arguments_that_the_estimate_needs():
    for tx, name in (
        (fo.sophia(0.1), "obj_fn"),
        (fo.sophia(0.1, hessian_diagonal_fn=gauss_newton_bartlett_estimator()), "logits_fn"),
    ):
        with pytest.raises(ValueError, match=f"estimator.*: update needs params and {name}"):
            tx.update(PARAMS, tx.init(PARAMS), PARAMS)


def test_the_share_of_elements_that_are_not_clipped_is_printed(capfd):
    tx = fo.sophia(0.1, verbose=True, print_win_rate_every_n_steps=2)
    state = tx.init(PARAMS)
    for _ in range(2):
        _, state = tx.update(jax.grad(loss)(PARAMS), state, PARAMS, obj_fn=loss)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("Sophia: the share of elements") == 1


def test_the_estimate_of_bartlett_is_the_gauss_newton_diagonal_in_the_mean():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((6, 2)), jnp.float32)
    params = {"w": jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)}

    def logits_fn(p):
        return x @ p["w"]

    tx = gauss_newton_bartlett_estimator(3)

    def once(state, _):
        found, state = tx.update(params, state, params, logits_fn=logits_fn)
        return state, found["w"]

    _, found = jax.lax.scan(once, tx.init(params), length=20_000)
    # A linear model has the mean over examples of x_i^2 p_c (1 - p_c).
    p = np.asarray(jax.nn.softmax(logits_fn(params)), np.float64)
    expected = np.mean(np.asarray(x)[:, :, None] ** 2 * (p * (1 - p))[:, None], axis=0)
    np.testing.assert_allclose(np.mean(found, axis=0), expected, rtol=0.05)
    assert jnp.all(found >= 0)


def test_the_estimate_of_bartlett_wants_classes():
    tx = gauss_newton_bartlett_estimator()
    with pytest.raises(ValueError, match="logits_fn returned a scalar"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, logits_fn=loss)
