"""Groups that are not trained: no gradients, no steps, no state; they may be trained later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_same

PARAMS = {"base": {"w": jnp.arange(1.0, 4.0)}, "head": {"w": jnp.ones(3), "b": jnp.zeros(())}}
MAKERS = {
    "SGD": lambda groups: optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda groups: optim.AdamW(groups, lr=0.1),
    "Optimizer": lambda groups: optim.Optimizer(groups, fo.adamw(0.1)),
    "differentiable": lambda groups: optim.Adam(groups, lr=0.1, differentiable=True),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def loss_fn(params, x):
    y = params["base"]["w"] * params["head"]["w"] + params["head"]["b"][None]
    return jnp.sum((y - x) ** 2)


def head_alone(head, base, x):
    return loss_fn({"base": base, "head": head}, x)


def groups(**options):
    return optim.path_groups(PARAMS, {"^base": options})


def step_by(optimizer, method, x):
    if method == "minimize":
        optimizer.minimize(loss_fn, x)
    elif method == "backward":
        optimizer.zero_grad()
        optimizer.backward(loss_fn, x)
        optimizer.step()
    elif method == "closure":
        optimizer.step(lambda params: loss_fn(params, x))
    else:
        optimizer.step(jax.grad(loss_fn)(optimizer.params, x))


@each
@pytest.mark.parametrize("method", ["minimize", "backward", "closure", "gradients"])
def test_the_others_are_trained_as_without_the_frozen_parameters(make, method):
    optimizer, alone = make(groups(requires_grad=False)), make(PARAMS["head"])
    before = jax.tree.map(np.asarray, optimizer.state[0])
    for x in (1.0, 2.0, 3.0):
        step_by(optimizer, method, x)
        alone.minimize(head_alone, PARAMS["base"], x)
    assert_same(optimizer.params["base"], PARAMS["base"])
    jax.tree.map(np.testing.assert_array_equal, optimizer.state[0], before)
    for k, p in alone.params.items():
        np.testing.assert_allclose(optimizer.params["head"][k], p, rtol=1e-6, atol=1e-6)


@each
def test_a_group_may_be_trained_later_and_frozen_again(make):
    optimizer, other = make(groups(requires_grad=False)), make(groups())
    optimizer.minimize(loss_fn, 1.0)
    optimizer.param_groups[0]["requires_grad"] = True
    optimizer.minimize(loss_fn, 1.0)
    assert optimizer.params["base"]["w"].tolist() != PARAMS["base"]["w"].tolist()
    # Its first step is a first step.
    other.minimize(loss_fn, 1.0)
    jax.tree.map(lambda a, b: a.shape == b.shape, optimizer.state[0], other.state[0])
    assert int(optimizer.state[0][-1].count) == int(other.state[0][-1].count) == 1
    optimizer.param_groups[0]["requires_grad"] = False
    frozen = optimizer.copy_params()["base"]
    optimizer.minimize(loss_fn, 1.0)
    assert_same(optimizer.params["base"], frozen)
    del optimizer.param_groups[0]["requires_grad"]
    optimizer.minimize(loss_fn, 1.0)
    assert optimizer.params["base"]["w"].tolist() != frozen["w"].tolist()


def test_its_gradients_are_none_and_not_computed():
    def loss(params, x):
        return jnp.sum(own(params["base"]["w"]) * params["head"]["w"]) * x

    @jax.custom_vjp
    def own(x):
        return x

    def fail(*args):
        raise AssertionError("differentiated")

    own.defvjp(fail, fail)
    optimizer = optim.SGD(groups(requires_grad=False))
    optimizer.backward(loss, 1.0)
    assert optimizer.grads["base"]["w"] is None
    assert optimizer.grads["head"]["w"].tolist() == [1.0, 2.0, 3.0]
    optimizer.minimize(loss, 1.0)


def test_all_frozen():
    optimizer = optim.Adam([{"params": PARAMS, "requires_grad": False}])
    assert float(optimizer.minimize(lambda params, x: loss_fn(params[0], x), 1.0)) == 5.0
    assert_same(optimizer.params, [PARAMS])
    search = optim.LBFGS([{"params": PARAMS, "requires_grad": False}])
    assert float(search.step(lambda params: loss_fn(params[0], 1.0))) == 5.0
    assert_same(search.params, [PARAMS])


@each
def test_it_is_saved_and_loaded(make):
    optimizer = make(groups(requires_grad=False))
    optimizer.minimize(loss_fn, 1.0)
    again = make(groups())
    again.params = optimizer.params
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["requires_grad"] is False
    for one in (optimizer, again):
        one.minimize(loss_fn, 2.0)
    assert_same(again.params, optimizer.params)


@pytest.mark.parametrize("value", [None, "no", 2])
def test_requires_grad_must_be_a_boolean(value):
    with pytest.raises(
        TypeError, match=f"group 0: requires_grad must be True or False, got {value!r}"
    ):
        optim.SGD(groups(requires_grad=value))
    optimizer = optim.SGD(groups())
    with pytest.raises(TypeError, match="requires_grad must be"):
        optimizer.param_groups[0]["requires_grad"] = value
