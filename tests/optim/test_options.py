"""Options as numbers, arrays and schedules, in groups and as edits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..trees import assert_close, assert_same
from .makers import grads, steps


@pytest.mark.parametrize(
    "lr",
    [np.float32(0.5), np.array(0.5), np.array([0.5]), jnp.array(0.5), jnp.array([0.5]), 0.5],
    ids=["scalar", "numpy", "numpy-1", "jax", "jax-1", "float"],
)
def test_a_number_may_be_an_array_of_one_element(lr):
    optimizer = optim.Adam(problem.arrays(), lr=lr, betas=(jnp.array([0.5]), np.array(0.75)))
    expected = optim.Adam(problem.arrays(), lr=0.5, betas=(0.5, 0.75))
    assert optimizer.param_groups[0]["lr"] == lr
    assert_same(steps(optimizer, range(3)), steps(expected, range(3)))
    assert_same(optimizer.state, expected.state)


def test_integer_options_equal_floats():
    a = optim.SGD(problem.arrays(), lr=1, weight_decay=0, momentum=0)
    b = optim.SGD(problem.arrays(), lr=1.0, weight_decay=0.0, momentum=0.0)
    assert_same(steps(a, range(2)), steps(b, range(2)))


@pytest.mark.parametrize("where", ["constructor", "group", "edit"])
def test_lr_may_be_a_schedule(where):
    schedule = fo.linear_schedule(1.0, 0.0, 4)
    lr = schedule if where == "constructor" else 0.0
    group = {"params": {"w": jnp.zeros(1)}} | ({"lr": schedule} if where == "group" else {})
    optimizer = optim.SGD([group], lr=lr)
    if where == "edit":
        optimizer.param_groups[0]["lr"] = schedule
    seen = []
    for _ in range(6):
        optimizer.step([{"w": jnp.ones(1)}])
        seen.append(float(optimizer.params[0]["w"][0]))
    np.testing.assert_allclose(seen, -np.cumsum([1.0, 0.75, 0.5, 0.25, 0.0, 0.0]))


def test_every_number_may_be_a_schedule():
    plan = {
        "lr": fo.linear_schedule(0.1, 0.2, 4),
        "betas": (fo.linear_schedule(0.5, 0.9, 4), fo.linear_schedule(0.9, 0.99, 4)),
        "weight_decay": fo.linear_schedule(0.0, 0.1, 4),
    }
    scheduled = optim.AdamW(problem.arrays(), **plan)
    edited = optim.AdamW(problem.arrays())
    for t in range(4):
        at = jax.tree.map(lambda s, t=t: float(s(t)), plan, is_leaf=callable)
        edited.param_groups[0].update(at)
        steps(edited, [t])
        steps(scheduled, [t])
    assert_close(scheduled.params, edited.params, rtol=1e-6, atol=1e-6)


def test_a_schedule_in_betas_does_not_break_state_dict():
    def make(params):
        return optim.Adam(params, betas=(fo.linear_schedule(0.5, 0.9, 4), 0.99))

    optimizer, other = make(problem.arrays()), make(problem.arrays())
    steps(optimizer, range(2))
    other.params = optimizer.params
    other.load_state_dict(optimizer.state_dict())
    assert_close(steps(other, range(3)), steps(optimizer, range(3)), rtol=1e-6)


def test_a_schedule_may_be_replaced_by_a_number_and_back():
    optimizer = optim.Adam(problem.arrays(), lr=fo.linear_schedule(1.0, 0.0, 4))
    steps(optimizer, range(2))
    optimizer.param_groups[0]["lr"] = 0.1
    steps(optimizer, range(2))
    assert float(fo.get_hyperparams(optimizer.state)["learning_rate"]) == np.float32(0.1)
    assert float(optimizer.state_dict()["state"][0]["step"]) == 4.0
    optimizer.param_groups[0]["lr"] = fo.linear_schedule(1.0, 0.0, 8)
    steps(optimizer, range(1))
    assert float(fo.get_hyperparams(optimizer.state)["learning_rate"]) == 0.5


def test_groups_may_follow_their_own_schedules():
    groups = optim.path_groups(problem.arrays(), {"^b": {"lr": fo.linear_schedule(1.0, 0.0, 2)}})
    optimizer = optim.SGD(groups, lr=0.5)
    g = jax.tree.map(jnp.ones_like, problem.arrays())
    for _ in range(3):
        optimizer.step(g)
    start = problem.arrays()
    assert_close(
        optimizer.params, {"b": start["b"] - 1.5, "w": start["w"] - 1.5}, rtol=1e-6, atol=1e-6
    )


def test_an_edit_shows_in_the_state_immediately():
    optimizer = optim.AdamW(problem.arrays())
    optimizer.param_groups[0].update(lr=0.5, betas=(0.25, 0.75))
    values = fo.get_hyperparams(optimizer.state[0])
    assert (float(values["learning_rate"]), float(values["b1"])) == (0.5, 0.25)


def test_unknown_keys_of_a_group_belong_to_the_user():
    optimizer = optim.SGD([{"params": problem.arrays(), "name": "all", "lr_scale": 2}])
    optimizer.param_groups[0]["note"] = "mine"
    steps_before = jax.tree.map(jnp.copy, optimizer.params)
    optimizer.step([grads(0)])
    assert optimizer.param_groups[0]["name"] == "all"
    assert optimizer.state_dict()["param_groups"][0]["note"] == "mine"
    assert steps_before[0]["w"].shape == (3, 4)


def test_defaults_are_the_constructors():
    optimizer = optim.Adam({"w": jnp.ones(1)}, 0.5, (0.5, 0.75), weight_decay=0.1)
    assert optimizer.defaults == {
        "lr": 0.5,
        "betas": (0.5, 0.75),
        "eps": 1e-8,
        "weight_decay": 0.1,
        "amsgrad": False,
        "foreach": None,
        "maximize": False,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
    }
    assert optimizer.param_groups[0].options == optimizer.defaults


def test_amsgrad_that_is_switched_on_later_starts_at_that_step():
    optimizer = optim.Adam({"w": jnp.zeros(1)}, lr=0.1, betas=(0.0, 0.5), eps=0.0)
    for t, g in enumerate((4.0, 2.0, 1.0, 1.0)):
        optimizer.param_groups[0]["amsgrad"] = t > 1
        optimizer.step({"w": jnp.array([g])})
    # The biased means of squares: 8, 6, 3.5, 2.25; of the last two, the larger is kept.
    moves = [4 / np.sqrt(8 / 0.5), 2 / np.sqrt(6 / 0.75)]
    moves += [1 / np.sqrt(3.5 / 0.875), 1 / np.sqrt(3.5 / 0.9375)]
    np.testing.assert_allclose(optimizer.params["w"], [-0.1 * sum(moves)], rtol=1e-6)


def test_a_momentum_of_rmsprop_that_is_switched_on_later_starts_at_that_step():
    optimizer = optim.RMSprop({"w": jnp.zeros(1)}, lr=1.0, alpha=0.0, eps=0.0)
    for t, g in enumerate((4.0, -2.0, 1.0, 1.0)):
        optimizer.param_groups[0]["momentum"] = 0.5 if t > 1 else 0.0
        optimizer.step({"w": jnp.array([g])})
    assert optimizer.params["w"].tolist() == [-1 + 1 - 1 - 1.5]


def test_a_centred_variance_of_zero_stays_finite():
    optimizer = optim.RMSprop({"w": jnp.zeros(3)}, lr=1.0, alpha=0.0, centered=True, eps=0.5)
    for g in ([0.1, -3.3, 1e6], [0.7, 1e-8, 3.1]):
        optimizer.step({"w": jnp.array(g)})
    np.testing.assert_allclose(optimizer.params["w"], [-1.6, 6.6, -2e6 - 6.2], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda s: optim.Muon({"w": jnp.eye(2)}, ns_coefficients=(s, -4.7, 2.0)),
            "Muon: ns_coefficients must be numbers, got",
        ),
        (
            lambda s: optim.LBFGS({"w": jnp.eye(2)}, max_iter=s),
            "LBFGS: max_iter must be an integer, got",
        ),
    ],
)
def test_static_options_refuse_schedules(make, text):
    with pytest.raises(TypeError, match=text):
        make(fo.linear_schedule(3.0, 2.0, 3))
