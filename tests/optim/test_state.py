"""The state of an optimizer may be edited, moved and reset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_same
from .makers import quadratic

PARAMS = {"w": jnp.array([1.0, -2.0]), "v": jnp.ones(3)}
MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
    "schedule": lambda params: optim.Adam(params, lr=fo.linear_schedule(0.1, 0.0, 9)),
    "NAdam": lambda params: optim.NAdam(params, lr=0.1),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.1),
    "Optimizer": lambda params: optim.Optimizer(params, fo.adamw(0.1)),
    "LBFGS": lambda params: optim.LBFGS(params, max_iter=2, history_size=3),
    "groups": lambda params: optim.Adam(optim.path_groups(params, {"w": {"lr": 0.3}})),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def loss_fn(params, x):
    return quadratic({"w": params["w"]}, x) + jnp.sum(params["v"] ** 4)


@each
def test_a_reset_optimizer_continues_as_a_new_one(make):
    optimizer = make(PARAMS)
    for _ in range(3):
        optimizer.minimize(loss_fn, 1.0)
    new = make(optimizer.copy_params())
    optimizer.reset_state()
    assert optimizer.step_count == 0
    for one in (optimizer, new):
        for _ in range(3):
            one.minimize(loss_fn, 1.0)
    assert_same(optimizer.params, new.params)


def test_a_reset_keeps_edited_options():
    for optimizer in (optim.SGD(PARAMS, lr=0.1), optim.Optimizer(PARAMS, fo.sgd(0.1))):
        key = "lr" if "lr" in optimizer.defaults else "learning_rate"
        optimizer.param_groups[0][key] = 0.5
        optimizer.reset_state()
        optimizer.step({"w": jnp.ones(2), "v": None})
        assert optimizer.params["w"].tolist() == [0.5, -2.5]


@each
def test_a_state_that_is_put_back_continues_where_it_was_read(make):
    optimizer = make(PARAMS)
    optimizer.minimize(loss_fn, 1.0)
    params, states = optimizer.copy_params(), jax.tree.map(jnp.copy, optimizer.state)
    runs = []
    for _ in range(2):
        for _ in range(3):
            optimizer.minimize(loss_fn, 1.0)
        runs.append(optimizer.copy_params())
        optimizer.params, optimizer.state = params, states
    assert_same(*runs)


def test_moments_of_a_part_are_edited():
    optimizer = optim.Adam(PARAMS, lr=0.1)
    optimizer.minimize(loss_fn, 1.0)
    adam = optimizer.state[0].scale_by_adam
    kept = np.asarray(adam.mu["w"])
    mu = {**adam.mu, "v": jnp.zeros_like(adam.mu["v"])}
    optimizer.state = [optimizer.state[0]._replace(scale_by_adam=adam._replace(mu=mu))]
    saved = optimizer.state_dict()["state"]
    assert saved[0]["exp_avg"].tolist() == [0.0] * 3  # v
    np.testing.assert_array_equal(saved[1]["exp_avg"], kept)
    optimizer.minimize(loss_fn, 1.0)


@each
def test_a_state_is_moved_with_its_parameters(make):
    device = jax.devices()[-1]
    optimizer, same = make(PARAMS), make(PARAMS)
    for one in (optimizer, same):
        one.minimize(loss_fn, 1.0)
    optimizer.params = jax.device_put(optimizer.params, device)
    optimizer.state = jax.device_put(optimizer.state, device)
    for one in (optimizer, same):
        one.minimize(loss_fn, 1.0)
    assert {d for p in jax.tree.leaves(optimizer.params) for d in p.devices()} == {device}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), optimizer.params, same.params)


def test_the_numbers_of_options_stay():
    optimizer = optim.SGD(PARAMS, lr=0.1)
    states = optimizer.state
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.state = states
    optimizer.step({"w": jnp.ones(2), "v": None})
    assert optimizer.params["w"].tolist() == [0.5, -2.5]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s[0], "expected a list with a state for each of 1 groups"),
        (lambda s: [*s, *s], "expected a list with a state for each of 1 groups, got 2"),
        (lambda s: [s[0].scale_by_adam], "the new state"),
        (lambda s: [jax.tree.map(lambda x: jnp.ones(7), s[0])], r"has shape \(7,\), and had"),
    ],
)
def test_states_that_do_not_fit_are_refused(change, text):
    optimizer = optim.Adam(PARAMS, lr=0.1)
    optimizer.minimize(loss_fn, 1.0)
    before = optimizer.state_dict()["state"]
    with pytest.raises(ValueError, match=rf"Adam: state.*{text}"):
        optimizer.state = change(optimizer.state)
    jax.tree.map(np.testing.assert_array_equal, optimizer.state_dict()["state"], before)
