"""`Optimizer` over any pair: of this package, of optax, or the user's own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..trees import assert_close, assert_same
from .makers import grads, quadratic, steps

PAIRS = {
    "adam": lambda: fo.adam(0.1),
    "clipped chain": lambda: fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(0.1)),
    "masked": lambda: fo.adamw(0.1, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    "partition": lambda: fo.partition(
        {"a": fo.sgd(0.1), "b": fo.adam(0.1)}, fo.path_labels({"^b": "b"}, default="a")
    ),
    "optax": lambda: optax.adamw(0.1),
    "optax chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, 0.9)),
    "both": lambda: fo.chain(optax.clip_by_global_norm(1.0), fo.adam(0.1), optax.scale(0.5)),
}


@pytest.fixture
def standard_promotion():
    """Allows optax to add integers to floats, which the tests forbid by default."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_a_step_equals_that_of_the_transformation(make):
    tx, params = make(), problem.arrays()
    optimizer = optim.Optimizer(params, make())
    state = tx.init(params)
    for seed in range(3):
        updates, state = tx.update(grads(seed), state, params)
        params = fo.apply_updates(params, updates)
        optimizer.step(grads(seed))
    assert_close(optimizer.params, params, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_a_saved_state_continues_in_another_optimizer(make):
    first, second = (optim.Optimizer(problem.arrays(), make()) for _ in range(2))
    steps(first, range(3))
    second.params = first.params
    second.load_state_dict(first.state_dict())
    assert_same(steps(second, range(3)), steps(first, range(3)))


def test_loaded_options_take_effect():
    first, second = (optim.Optimizer({"w": jnp.zeros(1)}, fo.sgd(0.1)) for _ in range(2))
    saved = first.state_dict()
    saved["param_groups"][0]["learning_rate"] = 0.5
    second.load_state_dict(saved)
    second.step({"w": jnp.ones(1)})
    assert second.params["w"].tolist() == [-0.5]
    for bad, kind in (("fast", TypeError), (-1.0, ValueError)):
        saved["param_groups"][0]["learning_rate"] = bad
        with pytest.raises(kind, match=r"load_state_dict: group 0: learning_rate must be"):
            second.load_state_dict(saved)
    assert second.param_groups[0]["learning_rate"] == 0.5


def test_a_state_may_contain_the_parameters_themselves():
    def update(g, state, params=None):
        return jax.tree.map(lambda x: -0.5 * x, g), state

    tx = fo.GradientTransformation(lambda params: {"anchor": params, "again": params}, update)
    optimizer = optim.Optimizer({"w": jnp.ones(2)}, tx)
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [0.5, 0.5]
    assert optimizer.state[0]["anchor"]["w"].tolist() == [1.0, 1.0]


def test_options_are_the_hyperparameters():
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.adamw(1e-3))
    optimizer = optim.Optimizer(problem.arrays(), tx)
    options = optimizer.param_groups[0].options
    assert options == {
        "max_norm": 1.0,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "eps_root": 0.0,
        "weight_decay": 1e-4,
        "learning_rate": 1e-3,
    }


def test_a_groups_options_override_and_can_be_edited():
    tx = fo.sgd(0.5, momentum=0.75)
    groups = [{"params": jnp.zeros(1)}, {"params": jnp.zeros(1), "learning_rate": 0.25}]
    optimizer = optim.Optimizer(groups, tx)
    optimizer.step([jnp.ones(1), jnp.ones(1)])
    optimizer.param_groups[0]["momentum"] = 0.0
    optimizer.param_groups[1]["learning_rate"] = 1.0
    optimizer.step([jnp.ones(1), jnp.ones(1)])
    assert [p.tolist() for p in optimizer.params] == [[-1.0], [-2.0]]


LABELS = {"w": "a", "b": "c"}


def decreasing(step):
    return 0.1 / jnp.float32(step + 1)


SCHEDULED = {
    "function": fo.adamw(decreasing),
    "schedule of optax": fo.sgd(optax.linear_schedule(0.1, 0.0, 10)),
    "scale_by_schedule": fo.chain(fo.scale_by_adam(), fo.scale_by_schedule(lambda step: -0.1)),
    "for one of two labels": fo.partition(
        {"a": fo.adam(fo.linear_schedule(0.1, 0.0, 5)), "c": fo.sgd(0.2)}, LABELS
    ),
    "for one of two equal names": fo.chain(
        fo.add_decayed_weights(fo.linear_schedule(1.0, 0.0, 5)), fo.adamw(0.1)
    ),
    "for one of sam's two optimizers": fo.sam(
        fo.adam(fo.linear_schedule(0.1, 0.0, 5)), fo.chain(fo.normalize(), fo.sgd(0.05))
    ),
    "inject_hyperparams": fo.inject_hyperparams(optax.sgd)(decreasing),
    "by_label": fo.sgd(fo.by_label({"a": lambda step: 0.1, "c": 0.2}, LABELS)),
    "stateful schedule": fo.inject_hyperparams(fo.sgd)(fo.WrappedSchedule(decreasing)),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_all_hyperparameters_but_scheduled_ones_are_options(name):
    tx, params = SCHEDULED[name], {"w": jnp.ones(2), "b": jnp.ones(2)}
    optimizer, state = optim.Optimizer(params, tx), tx.init(params)
    scheduled = fo.core.hyperparams.scheduled_hyperparams(state)
    assert scheduled
    options = set(optimizer.param_groups[0].options) - {"params"}
    assert options == fo.get_hyperparams(state).keys() - scheduled
    expected = params
    for _ in range(3):
        optimizer.step(params)
        updates, state = tx.update(params, state, expected)
        expected = fo.apply_updates(expected, updates)
    np.testing.assert_allclose(optimizer.params["b"], expected["b"], rtol=1e-5)


def test_the_numbers_of_a_schedule_are_options():
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, fo.sgd(fo.linear_schedule(1.0, 0.0, 4)))
    options = optimizer.param_groups[0].options
    assert options["learning_rate.init_value"] == 1.0
    assert "learning_rate" not in options
    optimizer.param_groups[0]["learning_rate.init_value"] = 3.0
    optimizer.step({"w": jnp.ones(1)})
    assert optimizer.params["w"].tolist() == [-3.0]


def test_an_edit_that_is_not_a_number_raises():
    optimizer = optim.Optimizer({"w": jnp.zeros(1)}, fo.sgd(0.5))
    optimizer.param_groups[0]["learning_rate"] = "fast"
    with pytest.raises(TypeError, match="learning_rate"):
        optimizer.step({"w": jnp.ones(1)})


def test_path_groups_and_minimize_with_a_transformation():
    groups = optim.path_groups(problem.arrays(), {"^b": {"learning_rate": 0.0}})
    optimizer = optim.Optimizer(groups, fo.sgd(0.5))
    loss = optimizer.minimize(quadratic, 1.0)
    start = problem.arrays()
    np.testing.assert_allclose(loss, quadratic(start, 1.0), rtol=1e-6)
    assert_close(optimizer.params, {"b": start["b"], "w": (start["w"] + 1) / 2}, rtol=1e-6)


def test_each_group_has_its_own_state():
    """`clip_by_global_norm` clips the norm of each group, not the norm of all groups together."""
    tx = fo.chain(fo.clip_by_global_norm(1.0), fo.sgd(1.0))
    optimizer = optim.Optimizer([{"params": jnp.zeros(1)}, {"params": jnp.zeros(1)}], tx)
    optimizer.step([jnp.full(1, 100.0), jnp.full(1, 0.5)])
    assert [round(float(p[0]), 5) for p in optimizer.params] == [-1.0, -0.5]


class Scale(NamedTuple):
    """A user's own pair, with plain functions and a plain state."""

    factor: float

    def init(self, params):
        return {"count": jnp.zeros((), jnp.int32)}

    def update(self, updates, state, params):
        scaled = jax.tree.map(lambda g: -self.factor * g, updates)
        return scaled, {"count": state["count"] + 1}


def test_a_transformation_written_by_the_user():
    optimizer = optim.Optimizer({"w": jnp.ones(2)}, Scale(0.25))
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [0.75, 0.75]
    assert optimizer.param_groups[0].options == {}
    assert optimizer.state_dict()["state"]["0.count"] == 1


@pytest.mark.parametrize("tx", [None, fo.adam, 0.1, optim.SGD, (fo.sgd(0.1),)])
def test_objects_that_are_not_transformations_raise(tx):
    with pytest.raises(
        TypeError, match=r"Optimizer: tx must be a pair of functions \(init, update\)"
    ):
        optim.Optimizer({"w": jnp.ones(1)}, tx)


SGD, ADAM = (lambda: fo.sgd(0.1)), (lambda: fo.adam(0.1))
HALVES = fo.path_labels({"^b": "b"}, default="a")
OUT_OF_BOUNDS = {
    "alone": (lambda: fo.scale_by_adam(), "b1", 2.0, r"\[0, 1\)"),
    "nan": (ADAM, "learning_rate", float("nan"), r"\[0, inf\)"),
    "chain": (lambda: fo.chain(fo.clip(1.0), fo.adam(0.1)), "eps", -1.0, r"\[0, inf\)"),
    "wrapper": (lambda: fo.MultiSteps(fo.adam(0.1), 2), "learning_rate", -1.0, r"\[0, inf\)"),
    "named": (lambda: fo.named_chain(("mine", fo.scale_by_adam())), "b2", 1.0, r"\[0, 1\)"),
    "partition": (
        lambda: fo.partition({"a": SGD(), "b": ADAM()}, HALVES),
        "b.scale_by_learning_rate.learning_rate",
        -1.0,
        r"\[0, inf\)",
    ),
    "twice": (
        lambda: fo.chain(fo.scale_by_adam(), fo.scale_by_adam()),
        "scale_by_adam_1.b1",
        -0.1,
        r"\[0, 1\)",
    ),
}


@pytest.mark.parametrize(
    ("make", "key", "bad", "bounds"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS
)
def test_an_edit_is_checked_by_the_bounds_of_the_rule(make, key, bad, bounds):
    optimizer = optim.Optimizer(problem.arrays(), make())
    group = optimizer.param_groups[0]
    good, message = group[key], f"group 0: {key} must be in {bounds}, got {bad}"
    group[key] = bad
    with pytest.raises(ValueError, match=message):
        optimizer.step(grads(0))
    assert_same(optimizer.params, problem.arrays())
    group[key] = good
    optimizer.step(grads(0))
    assert optimizer.step_count == 1
    with pytest.raises(ValueError, match=message.replace("group 0", "group 1")):
        optimizer.add_param_group({"params": {"a": jnp.ones(1), "b": jnp.ones(1)}, key: bad})
    assert len(optimizer.param_groups) == 1


def test_hyperparameters_of_foreign_transformations_have_no_bounds():
    def scaled(learning_rate):
        return fo.scale(learning_rate)

    tx = fo.chain(fo.inject_hyperparams(scaled)(learning_rate=0.5), fo.sgd(0.1))
    optimizer = optim.Optimizer({"w": jnp.ones(2)}, tx)
    key = next(k for k in optimizer.param_groups[0].options if k.startswith("inject"))
    optimizer.param_groups[0][key] = -1.0
    optimizer.step({"w": jnp.ones(2)})
    np.testing.assert_allclose(optimizer.params["w"], 1.1, rtol=1e-6)


def test_loading_a_state_of_the_classes_of_torch_raises():
    adam = optim.Adam({"w": jnp.ones(2)})
    adam.step({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="torch's format is for torch's classes"):
        optim.Optimizer({"w": jnp.ones(2)}, fo.adam(0.1)).load_state_dict(adam.state_dict())
