"""Line searches as links: the conditions that a step satisfies, and failed searches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

X = jnp.array([1.5, -0.5])
ONES = jnp.ones(2)


def quartic(x):
    return jnp.sum(x**4 + 0.5 * x**2)


def wavy(x):
    return jnp.sum(jnp.cos(3 * x) + 0.1 * x**2)


def walled(x):
    """Computes a loss that is NaN below -1, where its logarithm ends."""
    return jnp.sum(-jnp.log(x + 1) + x)


LOSSES = pytest.mark.parametrize("loss", [quartic, wavy, walled])
SCALES = (1e-3, 1.0, 1e3)


def searcher(tx, loss):
    """Compiles `(u, x) -> (updates, state)`: the first step along u from x."""

    def search(u, x, **extra):
        value, grad = jax.value_and_grad(loss)(x, **extra)
        return tx.update(u, tx.init(x), x, value=value, grad=grad, value_fn=loss, **extra)

    return jax.jit(search)


@LOSSES
def test_zoom_ends_where_the_strong_wolfe_conditions_hold(loss):
    value, grad = jax.value_and_grad(loss)(X)
    search = searcher(fo.scale_by_zoom_linesearch(30), loss)
    for u in (-scale * grad for scale in SCALES):
        updates, state = search(u, X)
        t, slope = state.scalars["learning_rate"], float(u @ grad)
        np.testing.assert_allclose(updates, t * u, rtol=1e-6)
        found, at = jax.value_and_grad(loss)(X + updates)
        assert found <= value + 1e-4 * t * slope
        assert abs(float(at @ u)) <= 0.9 * abs(slope)
        np.testing.assert_allclose(state.scalars["value"], found, rtol=1e-6)
        np.testing.assert_allclose(state.grad, at, rtol=1e-4, atol=1e-6)
        assert state.metrics["decrease_error"] == state.metrics["curvature_error"] == 0


@LOSSES
def test_backtracking_ends_where_the_decrease_suffices_and_not_a_step_before(loss):
    value, grad = jax.value_and_grad(loss)(X)
    search = searcher(fo.scale_by_backtracking_linesearch(60), loss)
    for u in (-scale * grad for scale in SCALES):
        updates, state = search(u, X)
        t, slope = float(state.scalars["learning_rate"]), float(u @ grad)
        rates = np.float32(0.8) ** np.arange(61, dtype=np.float32)
        values = jax.vmap(lambda rate, u=u: loss(X + rate * u))(jnp.asarray(rates))
        first = int(np.argmax(np.asarray(values <= value + 1e-4 * rates * slope)))
        assert t == pytest.approx(rates[first], rel=1e-5)
        assert state.metrics["num_linesearch_steps"] == first + 1
        np.testing.assert_allclose(updates, t * u, rtol=1e-6)


def test_backtracking_grows_the_step_again():
    tx = fo.scale_by_backtracking_linesearch(30, max_learning_rate=4.0)

    @jax.jit
    def step(state):  # down a slope, where every step suffices
        return tx.update(-ONES, state, X, value=jnp.sum(X), grad=ONES, value_fn=jnp.sum)[1]

    state, rates = tx.init(X), []
    for _ in range(4):
        state = step(state)
        rates.append(float(state.scalars["learning_rate"]))
    assert rates == [1.5, 2.25, 3.375, 4.0]


LINKS = pytest.mark.parametrize(
    "tx",
    [
        fo.scale_by_zoom_linesearch(8),
        fo.scale_by_backtracking_linesearch(8, store_grad=True),
    ],
    ids=repr,
)


@LINKS
def test_an_ascent_direction_gives_no_step(tx):
    updates, state = searcher(tx, quartic)(jax.grad(quartic)(X), X)
    np.testing.assert_array_equal(updates, 0)
    assert state.scalars["learning_rate"] == 0
    assert state.scalars["value"] == quartic(X)


@LINKS
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_where_every_step_leaves_the_domain_the_parameters_stay(tx, hole):
    def loss(x):
        return jnp.where(jnp.all(x == X), quartic(x), hole)

    updates, state = searcher(tx, loss)(-X, X)
    np.testing.assert_array_equal(updates, 0)
    assert jnp.isfinite(state.scalars["value"])


@LINKS
def test_extra_arguments_reach_the_loss_that_has_them_by_name(tx):
    def loss(x, target):
        return jnp.sum((x - target) ** 2)

    updates, _ = searcher(tx, loss)(ONES, X, target=X + 0.4)
    assert loss(X + updates, X + 0.4) < loss(X, X + 0.4)


def test_the_search_after_a_failed_one_continues_from_its_end():
    link = fo.scale_by_backtracking_linesearch(2, decrease_factor=0.5)
    tx = fo.chain(fo.sgd(1.0), link)

    def loss(x):
        return 1e3 * x @ x

    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return fo.apply_updates(x, updates), state, value

    x, state, values = X, tx.init(X), []
    for _ in range(20):
        x, state, value = step(x, state)
        values.append(float(value))
    assert values == sorted(values, reverse=True)
    assert values[0] == values[1]
    assert values[-1] < 1e-3 * values[0]


def test_a_bound_of_the_rate_is_kept():
    tx = fo.scale_by_zoom_linesearch(20, max_learning_rate=0.25)
    _, state = searcher(tx, quartic)(-1e-3 * X, X)
    assert state.scalars["learning_rate"] == 0.25


@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_prints_a_failure(verbose, capfd):
    searcher(fo.scale_by_zoom_linesearch(8, verbose=verbose), quartic)(X, X)
    jax.effects_barrier()
    assert ("no step found that decreases the loss" in capfd.readouterr().out) == verbose


def test_errors_name_the_missing_value_fn():
    tx, x = fo.scale_by_zoom_linesearch(8), X
    with pytest.raises(ValueError, match=r"scale_by_zoom_linesearch: update needs value_fn"):
        tx.update(-x, tx.init(x), x, value=1.0, grad=x)


def test_value_and_gradient_come_from_the_state_where_it_has_them():
    calls = []

    def loss(x):
        jax.debug.callback(lambda: calls.append(1))
        return quartic(x)

    tx, x = fo.lbfgs(), X
    state, value_and_grad = tx.init(x), fo.value_and_grad_from_state(loss)
    step = jax.jit(lambda x, state: value_and_grad(x, state=state))
    value, grad = step(x, state)
    jax.effects_barrier()
    assert len(calls) == 1
    update = jax.jit(functools.partial(tx.update, value_fn=quartic))
    updates, state = update(grad, state, x, value=value, grad=grad)
    value, grad = step(fo.apply_updates(x, updates), state)
    jax.effects_barrier()
    assert len(calls) == 1
    expected = jax.value_and_grad(quartic)(fo.apply_updates(x, updates))
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-5)


@pytest.mark.parametrize("tx", [fo.sgd(0.1), fo.scale_by_backtracking_linesearch(5)], ids=repr)
def test_a_state_without_them_is_an_error(tx):
    with pytest.raises(ValueError, match=r"exactly one link of the state must keep .* got 0"):
        fo.value_and_grad_from_state(quartic)(X, state=tx.init(X))


def test_a_first_step_that_overflows_is_taken_back_as_far_as_it_needs():
    def steep(w):
        s = jnp.sum(0.5 * jnp.arange(1.0, len(w) + 1) * w)
        return jnp.sum(w**2) + s**2 + s**4

    w = jnp.array([600.0, 700.0, 200.0, 100.0, 90.0, 1e4])
    search = fo.scale_by_zoom_linesearch(50, initial_guess_strategy="one")
    tx = fo.chain(fo.scale(-1.0), search)
    value, grad = jax.value_and_grad(steep)(w)
    updates, _ = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=steep)
    assert steep(w + updates) < 0.1 * value
