"""A state that does not fit is refused by name, and nothing is changed."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_same


def params(shape=(2, 3)):
    return {"dense": {"kernel": jnp.ones(shape), "bias": jnp.ones(3)}}


def stepped(optimizer):
    optimizer.step(jax.tree.map(jnp.ones_like, optimizer.params))
    return optimizer


def other_groups():
    groups = [{"params": p} for p in params()["dense"].values()]
    return stepped(optim.Adam(groups)).state_dict()


def other_sizes():
    return stepped(optim.Adam({"dense": {"kernel": jnp.ones((2, 3))}})).state_dict()


def without(*keys):
    saved = stepped(optim.Adam(params())).state_dict()
    for key in keys:
        del saved["state"][0][key]
    return saved


def with_entry(key, value):
    saved = stepped(optim.Adam(params())).state_dict()
    saved["state"][1][key] = value
    return saved


def renamed():
    saved = stepped(optim.Adam(params())).state_dict()
    saved["param_groups"][0]["param_names"] = ["dense.bias", "dense.weight"]
    return saved


def with_stray_entry():
    saved = stepped(optim.Adam(params())).state_dict()
    saved["state"][7] = saved["state"][0]
    return saved


def with_option(key, value):
    saved = stepped(optim.Adam(params())).state_dict()
    saved["param_groups"][0][key] = value
    return saved


def without_params():
    saved = stepped(optim.Adam(params())).state_dict()
    del saved["param_groups"][0]["params"]
    return saved


BAD = {
    "shape": (
        lambda: stepped(optim.Adam(params((3, 2)))).state_dict(),
        r"'dense\.kernel': 'exp_avg' has shape \(3, 2\), the parameter \(2, 3\)",
    ),
    "broadcasts": (
        lambda: with_entry("exp_avg", np.ones(3, np.float32)),
        r"'dense\.kernel': 'exp_avg' has shape \(3,\), the parameter \(2, 3\)",
    ),
    "optimizer": (
        lambda: stepped(optim.SGD(params(), momentum=0.9)).state_dict(),
        r"'dense\.bias' has an entry 'momentum_buffer', which is not kept here",
    ),
    "similar optimizer": (
        lambda: stepped(optim.RMSprop(params())).state_dict(),
        r"another optimizer .*'square_avg'",
    ),
    "groups": (other_groups, "different number of parameter groups: 2 where this optimizer has 1"),
    "sizes": (other_sizes, r"group 0 has 1 parameters there and 2 here\. Make"),
    "names": (renamed, r"only on one side are dense\.kernel, dense\.weight"),
    "missing": (lambda: without("exp_avg_sq"), r"'dense\.bias' has no entry 'exp_avg_sq'"),
    "no step": (lambda: without("step"), r"'dense\.bias' has no entry 'step'"),
    "stray": (with_stray_entry, r"\b7\b"),
    "step that is nan": (
        lambda: with_entry("step", np.float32(np.nan)),
        r"'dense\.kernel': 'step' is nan, and not a number of updates",
    ),
    "negative step": (lambda: with_entry("step", -4), "'step' is -4, and not a number of updates"),
    "huge step": (lambda: with_entry("step", 2**40), "'step' is .*, and not a number of updates"),
    "no parameters": (without_params, "the saved group 0 has no 'params'"),
    "option": (lambda: with_option("lr", -1.0), r"lr must be in \[0, inf\)"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_a_state_that_does_not_fit_raises_and_changes_nothing(make, message):
    optimizer = stepped(optim.Adam(params(), lr=0.5))
    before = jax.tree.map(np.array, (optimizer.params, optimizer.state, optimizer.state_dict()))
    options = copy.deepcopy(optimizer.param_groups[0].options)
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: .*" + message):
        optimizer.load_state_dict(make())
    assert_same((optimizer.params, optimizer.state, optimizer.state_dict()), before)
    assert optimizer.param_groups[0].options == options
    stepped(optimizer)


def test_the_error_for_a_wrapped_state_lists_the_differences():
    optimizer = stepped(optim.Optimizer(params(), fo.adam(0.1)))
    before = jax.tree.map(np.array, optimizer.state)
    saved = stepped(optim.Optimizer(params((3, 2)), fo.sgd(0.1, momentum=0.9))).state_dict()
    with pytest.raises(ValueError, match=r"missing: '0\.scale_by_adam\.count'") as caught:
        optimizer.load_state_dict(saved)
    assert "'0.trace.trace.dense.kernel' (3, 2) float32\nNothing" in str(caught.value)
    assert "Nothing was loaded" in str(caught.value)
    assert_same(optimizer.state, before)


def test_a_wrapped_state_of_another_shape_names_the_leaf():
    optimizer = stepped(optim.Optimizer(params(), fo.adam(0.1)))
    saved = stepped(optim.Optimizer(params((3, 2)), fo.adam(0.1))).state_dict()
    shapes = r"\(3, 2\) float32 saved, \(2, 3\) float32 in the template"
    message = rf"'0\.scale_by_adam\.mu\.dense\.kernel' {shapes}"
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_step_may_be_an_array_of_one_element(shape):
    optimizer = stepped(optim.Adam(params()))
    optimizer.load_state_dict(with_entry("step", np.full(shape, 3, np.float32)))
    assert optimizer.state_dict()["state"][1]["step"] == 3


def test_a_state_that_is_a_text_is_refused():
    with pytest.raises(TypeError, match="'state' must be a dict, got str"):
        optim.Adam(params()).load_state_dict({"state": "x", "param_groups": []})


@pytest.mark.parametrize("given", [{}, {"state": {}}, {"param_groups": [{}]}, [1, 2]], ids=str)
@pytest.mark.parametrize("make", [optim.Adam, lambda p: optim.Optimizer(p, fo.adam(0.1))])
def test_a_dict_without_state_and_groups_raises(make, given):
    with pytest.raises((TypeError, ValueError), match=r"load_state_dict: .*'param_groups'"):
        make(params()).load_state_dict(given)


def test_a_wrapped_state_of_other_groups_is_refused():
    groups = [{"params": jnp.ones(1)}, {"params": jnp.ones(2)}]
    saved = optim.Optimizer(groups, fo.adam(0.1)).state_dict()
    with pytest.raises(ValueError, match="has 2 parameter groups, and this optimizer 1"):
        optim.Optimizer(params(), fo.adam(0.1)).load_state_dict(saved)
