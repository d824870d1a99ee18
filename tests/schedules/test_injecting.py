"""Factories of other libraries, with their hyperparameters in the state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo

from .. import problem
from ..trees import assert_close, assert_same, leaf_types

PARAMS, GRADS = problem.arrays(), problem.arrays(seed=1)

# optax computes 1 - b2**t of a constant, or of a number of float32: 1e-4 off, a 1e-5 of a step.
NEAR = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True)
def promotion():
    """Allows promotion, on which optax counts."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def steps(tx, count=3, params=PARAMS, grads=GRADS, state=None):
    state = tx.init(params) if state is None else state
    step = jax.jit(tx.update)
    for _ in range(count):
        updates, state = step(grads, state, params)
        params = fo.apply_updates(params, updates)
    return params, state


FACTORIES = {
    "adam": (optax.adam, {"learning_rate": 0.1, "b2": 0.99}),
    "adamw": (optax.adamw, {"learning_rate": 0.1, "weight_decay": 0.1}),
    "adafactor": (optax.adafactor, {"learning_rate": 0.1, "min_dim_size_to_factor": 2}),
    "adafactor momentum": (optax.adafactor, {"learning_rate": 0.1, "momentum": 0.9}),
    "radam": (optax.radam, {"learning_rate": 0.1}),
    "lamb": (optax.lamb, {"learning_rate": 0.1}),
    "adopt": (optax.contrib.adopt, {"learning_rate": 0.1}),
    "lion": (optax.lion, {"learning_rate": 0.1, "mu_dtype": jnp.float32}),
    "ours": (fo.adamw, {"learning_rate": 0.1, "weight_decay": 0.1}),
    "ours masked": (fo.adamw, {"learning_rate": 0.1, "mask": {"w": True, "b": False}}),
    "ours wrapped": (
        lambda learning_rate: fo.apply_if_finite(fo.MultiSteps(fo.adam(learning_rate), 1), 3),
        {"learning_rate": 0.1},
    ),
}


@pytest.mark.parametrize(("factory", "arguments"), FACTORIES.values(), ids=FACTORIES)
def test_injected_is_as_plain_and_keeps_the_form_of_its_state(factory, arguments):
    tx = fo.inject_hyperparams(factory)(**arguments)
    params, state = steps(tx)
    assert_close(params, steps(factory(**arguments))[0], **NEAR)
    assert leaf_types(state) == leaf_types(tx.init(PARAMS))
    assert_close(state.hyperparams["learning_rate"], 0.1, rtol=1e-6)


@pytest.mark.parametrize(("factory", "arguments"), FACTORIES.values(), ids=FACTORIES)
def test_a_value_that_is_replaced_is_in_force(factory, arguments):
    tx = fo.inject_hyperparams(factory)(**arguments)
    _, state = steps(tx, 1)
    expected = steps(tx, 1, state=fo.set_hyperparams(state, learning_rate=0.5))[0]
    state.hyperparams["learning_rate"] = jnp.float32(0.5)
    updates, _ = tx.update(GRADS, state, PARAMS)  # not jitted by the caller
    assert_close(fo.apply_updates(PARAMS, updates), expected, rtol=1e-6)
    plain = factory(**{**arguments, "learning_rate": 0.5})
    _, plain_state = steps(factory(**arguments), 1)
    if factory.__module__.startswith("optax"):
        assert_close(expected, steps(plain, 1, state=plain_state)[0], **NEAR)
    assert not np.allclose(expected["w"], steps(tx, 1, state=steps(tx, 1)[1])[0]["w"])


def test_narrow_parameters_do_not_round_hyperparameters_or_widen_the_state():
    params, grads = problem.arrays(jnp.bfloat16), problem.arrays(jnp.bfloat16, seed=1)
    tx = fo.inject_hyperparams(optax.adam)(0.01)
    state = tx.init(params)
    assert_close(state.hyperparams["b2"], 0.999, rtol=1e-6)
    after, new = steps(tx, 2, params, grads)
    assert leaf_types(new) == leaf_types(state)
    assert {x.dtype for x in jax.tree.leaves(after)} == {jnp.dtype(jnp.bfloat16)}
    assert all(np.isfinite(np.float32(x)).all() for x in jax.tree.leaves(after))


def ndim_mask(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize("mask", [ndim_mask, lambda p: {"w": True, "b": False}])
def test_a_mask_that_is_a_function_is_not_a_schedule(mask):
    tx = fo.inject_hyperparams(optax.adamw)(0.1, weight_decay=0.5, mask=mask)
    assert "mask" not in tx.init(PARAMS).hyperparams
    assert_close(steps(tx)[0], steps(optax.adamw(0.1, weight_decay=0.5, mask=mask))[0], **NEAR)


CALLABLES = [
    ("rate", lambda step: 0.1 * step, True),
    ("rate", optax.linear_schedule(1.0, 0.0, 10), True),
    ("rate", fo.linear_schedule(1.0, 0.0, 10), True),
    ("rate", functools.partial(lambda a, step: a / (1 + step), 2.0), True),
    ("rate", lambda: 0.1, False),
    ("rate", lambda params: params["w"], False),
    ("rate", lambda params: jax.tree.map(lambda p: p.ndim > 1, params), False),
    ("rate", lambda step: jnp.ones(2), False),
    ("rate", jnp.float32, False),
    ("trained_mask", lambda params: 1.0, False),
    ("clip_value_fn", lambda step: step**0.25, False),
]


@pytest.mark.parametrize(("name", "value", "expected"), CALLABLES)
def test_a_callable_is_a_schedule_where_it_gives_a_number_for_a_step(name, value, expected):
    def factory(**arguments):
        given = arguments[name]
        return fo.scale(given if isinstance(given, jax.Array) else 7.0)

    state = fo.inject_hyperparams(factory)(**{name: value}).init(PARAMS)
    assert (name in state.hyperparams) is expected


def test_static_arguments_are_passed_unchanged():
    def factory(rate, power):
        assert isinstance(power, float)
        return fo.scale(rate * 2**power)

    tx = fo.inject_hyperparams(factory, static_args="power")(0.5, 3.0)
    assert list(tx.init(PARAMS).hyperparams) == ["rate"]
    assert_close(tx.update(GRADS, tx.init(PARAMS))[0], jax.tree.map(lambda g: 4 * g, GRADS))


def test_schedules_have_the_value_of_the_step_and_their_numbers_can_be_set():
    tx = fo.inject_hyperparams(optax.sgd)(fo.linear_schedule(1.0, 0.0, 4))
    _, state = steps(tx, 3)
    assert state.hyperparams["learning_rate"] == 0.5
    state = fo.set_hyperparams(state, {"learning_rate.init_value": 2.0})
    _, state = steps(tx, 1, state=state)
    assert state.hyperparams["learning_rate"] == 0.5


def test_a_sweep_is_one_program():
    make = fo.inject_hyperparams(optax.sgd)
    assert make(0.1).update is make(0.2).update
    assert make(0.1) == make(0.1)
    assert make(0.1) != make(0.2)
    found = jax.vmap(lambda lr: make(lr).init(PARAMS).hyperparams["learning_rate"])(jnp.arange(3.0))
    assert_same(found, jnp.arange(3.0))


def test_extra_arguments_and_models_with_functions_pass():
    def factory(rate):
        return optax.GradientTransformationExtraArgs(
            lambda p: optax.EmptyState(), lambda u, s, p=None, *, value_fn, loss: (value_fn(u), s)
        )

    tx = fo.inject_hyperparams(factory)(1.0)
    model = {**PARAMS, "activation": jnp.tanh}
    updates, _ = tx.update(
        {**GRADS, "activation": None}, tx.init(PARAMS), model, value_fn=lambda u: u, loss=1.0
    )
    assert_same(updates["w"], GRADS["w"])


def branches(rate):
    return fo.scale(rate if rate > 0 else -rate)


def test_the_error_of_a_factory_that_branches_on_a_value_names_static_args():
    tx = fo.inject_hyperparams(branches)(1.0)
    with pytest.raises(jax.errors.TracerBoolConversionError) as error:
        tx.update(GRADS, tx.init(PARAMS))
    assert "Name it in static_args; hyperparameters are rate." in str(error.value.__notes__)
    fo.inject_hyperparams(branches, static_args="rate")(1.0).init(PARAMS)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fo.inject_hyperparams(fo.sgd(0.1)), TypeError, "must be a function that makes a"),
        (lambda: fo.inject_hyperparams(fo.chain), TypeError, "chain takes arguments without name"),
        (lambda: fo.inject_hyperparams(optax.sgd, "lr"), ValueError, "names 'lr', which sgd does"),
        (lambda: fo.inject_hyperparams(optax.sgd)(lr=1), TypeError, "sgd: .*It takes .learning_ra"),
    ],
)
def test_misuse(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_key_is_not_a_hyperparameter():
    tx = fo.inject_hyperparams(fo.noisy_sgd)(0.1, eta=0.01, key=0)
    assert "key" not in tx.init({"w": jnp.ones(2)}).hyperparams


class Least(fo.StatefulSchedule):
    """The least value of the loss so far."""

    def init(self):
        return {"least": jnp.array(8.0)}

    def update(self, state, *, value, **extra_args):
        return {"least": jnp.minimum(state["least"], value)}

    def __call__(self, state, **extra_args):
        return state["least"]


def test_a_stateful_schedule_follows_the_extra_arguments_of_update():
    tx = fo.inject_hyperparams(fo.scale)(Least())
    state = tx.init(PARAMS)
    step = jax.jit(tx.update)
    for value, rate in ((3.0, 8.0), (5.0, 3.0), (1.0, 3.0)):
        updates, state = step(GRADS, state, value=value)
        assert fo.get_hyperparams(state)["step_size"] == fo.tree.get(state, "step_size") == rate
        assert_close(updates, jax.tree.map(lambda g, r=rate: r * g, GRADS))
    assert state.hyperparams_states["step_size"]["least"] == 1.0
    assert leaf_types(state) == leaf_types(tx.init(PARAMS))
    with pytest.raises(ValueError, match="step_size follows a schedule"):
        fo.set_hyperparams(state, step_size=1.0)


def test_a_schedule_may_be_wrapped_as_a_stateful_one():
    plain = fo.linear_schedule(1.0, 0.0, 4)
    wrapped = fo.WrappedSchedule(plain)
    state = wrapped.init()
    for count in range(3):
        assert wrapped(state, value=1.0) == plain(count)
        state = wrapped.update(state, value=1.0)
    tx = fo.inject_hyperparams(fo.sgd)
    assert_same(steps(tx(wrapped))[0], steps(tx(plain))[0])


def test_inject_hyperparams_of_optax_works_with_a_factory_of_this_package():
    tx = optax.inject_hyperparams(fo.sgd)(optax.linear_schedule(1.0, 0.0, 4))
    params = {"w": jnp.ones(())}

    def updates_of(update):
        state, found = tx.init(params), []
        with jax.numpy_dtype_promotion("standard"):
            for _ in range(3):
                updates, state = update(params, state, params)
                found.append(float(updates["w"]))
        return found

    assert updates_of(jax.jit(tx.update)) == [-1.0, -0.75, -0.5]
    # The state decides where numbers are not traced, as its docstring says.
    assert updates_of(tx.update) == [-1.0, -1.0, -1.0]
