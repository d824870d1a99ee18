"""The program depends on structure alone: no number of a user's is in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo

from .. import problem
from ..rules import affordable, cases, each_of
from ..trees import assert_close, leaf_types, settable


def program(tx):
    """Returns the lowered text of a training step."""
    params = problem.arrays()
    return jax.jit(problem.step_of(tx)).lower(params, tx.init(params), params).as_text()


def other(value):
    """Returns another number within the same bounds, which may be 1 or 4 from below."""
    if value > 2:
        return value + 1
    return (1 + value) / 2 if 1 < value < 2 else value / 2 or 0.25


def share_a_function(*txs):
    """Tells whether JAX finds one program for them: by the function, and the types of a state."""
    types = [leaf_types(jax.eval_shape(tx.init, problem.arrays())) for tx in txs]
    return txs[0].update is txs[1].update and types[0] == types[1]


@each_of(c for c in affordable(cases()) if c.numbers)
def test_the_program_is_the_same_for_other_numbers(case):
    """All are changed together: one that is in the program makes another, whatever the others."""
    changed = {k: other(v) for k, v in case.numbers.items()}
    tx, with_others = case.make(), case.make(**changed)
    if share_a_function(tx, with_others):
        return
    expected = program(tx)
    if program(with_others) != expected:
        alone = {k: program(case.make(**{k: v})) for k, v in changed.items()}
        pytest.fail(f"in the program: {[k for k, text in alone.items() if text != expected]}")


NUMBERS = {
    "max_norm": 1.0,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "init_value": 0.0,
    "end_value": 1e-3,
    "transition_steps": 100,
    "transition_begin": 10,
}


def recipe(
    max_norm, weight_decay, init_value, end_value, transition_steps, transition_begin, **adam
):
    rate = fo.linear_schedule(init_value, end_value, transition_steps, transition_begin)
    return fo.chain(
        fo.clip_by_global_norm(max_norm),
        fo.scale_by_adam(**adam),
        fo.add_decayed_weights(weight_decay),
        fo.scale_by_learning_rate(rate),
    )


@pytest.fixture(scope="module")
def recipe_program():
    return program(recipe(**NUMBERS))


@pytest.mark.parametrize("name", NUMBERS)
def test_the_program_of_a_chain_with_a_schedule_is_the_same_for_another_number(
    name, recipe_program
):
    assert program(recipe(**{**NUMBERS, name: other(NUMBERS[name])})) == recipe_program


def test_an_option_makes_another_program():
    assert program(fo.adam(1e-3, nesterov=True)) != program(fo.adam(1e-3))


@pytest.mark.parametrize("make", [lambda: fo.adamw(1e-3), lambda: recipe(**NUMBERS)])
@pytest.mark.parametrize("kind", [float, np.float64, jnp.float32])
def test_editing_any_hyperparameter_compiles_nothing(make, kind):
    tx, params = make(), problem.arrays()
    step = jax.jit(problem.step_of(tx))
    state = tx.init(params)
    _, state = step(params, state, params)
    for name, value in settable(state).items():
        edited = fo.set_hyperparams(state, {name: kind(other(float(value)))})
        assert leaf_types(edited) == leaf_types(state)
        step(params, edited, params)
    assert step._cache_size() == 1


def test_a_sweep_over_transformations_compiles_once():
    params = problem.arrays()

    @functools.partial(jax.jit, static_argnums=0)
    def first_step(update, state):
        return update(params, state, params)

    for tx in (fo.adam(rate, b1=b1) for rate in (0.1, 0.2) for b1 in (0.5, 0.9)):
        first_step(tx.update, tx.init(params))
    assert first_step._cache_size() == 1


@pytest.mark.parametrize(
    "start",
    [
        lambda rate, params: fo.adam(rate).init(params),
        lambda rate, params: fo.set_hyperparams(fo.adam(1.0).init(params), learning_rate=rate),
    ],
    ids=["factory", "set_hyperparams"],
)
def test_three_learning_rates_train_as_one_batch(start):
    params, rates = problem.arrays(), jnp.array([0.1, 0.01, 0.5])
    step = jax.jit(problem.step_of(fo.adam(1.0)))

    def train(rate):
        p, state = params, start(rate, params)
        for _ in range(3):
            p, state = step(p, state, jax.tree.map(lambda x: 2 * x, p))
        return p

    together = jax.vmap(train)(rates)
    apart = [train(rate) for rate in rates]
    assert_close(together, jax.tree.map(lambda *xs: jnp.stack(xs), *apart), rtol=1e-6)
    assert not np.allclose(together["w"][0], together["w"][1])
