"""All parameters of a group share one count until some parameter lacks a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .test_compilation import compilations

PARAMS = {"a": jnp.ones(3), "b": jnp.ones(2)}
BOTH = {"a": jnp.full(3, 0.5), "b": jnp.full(2, -0.5)}
ONE = {"a": jnp.full(3, 0.5), "b": None}

OPTIMIZERS = {
    "AdamW": optim.AdamW,
    "NAdam": optim.NAdam,
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "a transformation": lambda params: optim.Optimizer(params, fo.adam(0.1)),
    "accumulation": lambda params: optim.Optimizer(params, fo.MultiSteps(fo.adam(0.1), 2)),
    "a partition": lambda params: optim.Optimizer(
        params, fo.partition({"x": fo.adam(0.1), "y": fo.radam(0.1)}, {"a": "x", "b": "y"})
    ),
}
each = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def counted(optimizer):
    """Returns the names of the states that count the updates of each parameter."""
    paths = jax.tree_util.tree_leaves_with_path(optimizer.state)
    return [jax.tree_util.keystr(p) for p, _ in paths if "leaf_counts" in jax.tree_util.keystr(p)]


@each
def test_one_count_until_a_gradient_is_none(make):
    optimizer = make(PARAMS)
    for _ in range(3):
        optimizer.step(BOTH)
    assert not counted(optimizer)
    optimizer.step(ONE)
    assert counted(optimizer)


@each
def test_a_run_with_none_is_that_of_two_optimizers(make):
    """Each parameter is trained as in an optimizer of its own."""
    if make is OPTIMIZERS["a partition"]:
        make = OPTIMIZERS["a transformation"]
    if make is OPTIMIZERS["accumulation"]:  # there, None counts as a gradient of zero
        return
    together, a, b = make(PARAMS), make({"a": PARAMS["a"]}), make({"b": PARAMS["b"]})
    for grads in (BOTH, ONE, BOTH, ONE, BOTH):
        together.step(grads)
        a.step({"a": grads["a"]})
        if grads["b"] is not None:
            b.step({"b": grads["b"]})
    for alone in (a, b):
        for k, p in alone.params.items():
            np.testing.assert_allclose(together.params[k], p, rtol=1e-6)


@each
def test_a_saved_run_continues(make):
    for first in (BOTH, ONE):
        optimizer = make(PARAMS)
        for grads in (BOTH, first, BOTH):
            optimizer.step(grads)
        again = make(optimizer.copy_params())
        again.load_state_dict(optimizer.state_dict())
        assert first is ONE or not counted(again)
        for grads in (BOTH, ONE, BOTH):
            optimizer.step(grads)
            again.step(grads)
        jax.tree.map(np.testing.assert_array_equal, optimizer.params, again.params)


@each
def test_options_are_edited_before_and_after_the_first_none(make):
    optimizer = make(PARAMS)
    group = optimizer.param_groups[0]
    names = [k for k in group if k == "lr" or k.endswith("learning_rate")]
    assert names
    optimizer.step(BOTH)
    optimizer.step(ONE)
    optimizer.step(BOTH)
    with compilations() as found:
        group.update(dict.fromkeys(names, 0.0))
        before = optimizer.copy_params()
        optimizer.step(BOTH)
    assert found == []
    if make is not OPTIMIZERS["AdamW"]:
        jax.tree.map(np.testing.assert_array_equal, optimizer.params, before)


def test_a_program_changing_option_keeps_the_counts():
    optimizer = optim.Adam(PARAMS)
    optimizer.step(BOTH)
    optimizer.step(ONE)
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step(ONE)
    assert optimizer.state[0].scale_by_adam.leaf_counts.tolist() == [3, 1]


def test_an_optimizer_of_optax_may_be_given_none():
    optax = pytest.importorskip("optax")
    optimizer = optim.Optimizer(PARAMS, optax.sgd(0.1))
    optimizer.step(BOTH)
    optimizer.step(ONE)
    np.testing.assert_allclose(optimizer.params["a"], 0.9)
    np.testing.assert_allclose(optimizer.params["b"], 1.05)


def test_a_differentiable_optimizer_within_a_trace():
    def trained(scale):
        optimizer = optim.Adam(PARAMS, lr=0.1, differentiable=True)
        optimizer.step({"a": scale * BOTH["a"], "b": None})
        optimizer.step({"a": scale * BOTH["a"], "b": scale * BOTH["b"]})
        return optimizer.params["a"].sum() + optimizer.params["b"].sum()

    value, slope = jax.jit(jax.value_and_grad(trained))(1.0)
    assert np.isfinite(slope)
    np.testing.assert_allclose(value, 3 * 0.8 + 2 * 1.1, rtol=1e-5)
