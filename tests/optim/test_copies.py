"""Copies of an optimizer, and optimizers that have been pickled, continue independently."""

import copy
import pickle

import jax
import jax.numpy as jnp
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..trees import assert_same
from .makers import each, grads, steps
from .test_compilation import compilations

WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
@each
def test_a_copy_continues_bit_for_bit_and_independently(make, way):
    optimizer = make(problem.arrays())
    steps(optimizer, range(3))
    other = way(optimizer)
    assert type(other) is type(optimizer)
    assert other.step_count == 3
    expected = jax.tree.map(jnp.copy, steps(optimizer, range(3, 6)))
    steps(optimizer, range(6, 9))
    assert_same(steps(other, range(3, 6)), expected)


@ways
def test_a_copy_has_its_own_options(way):
    optimizer = optim.SGD(problem.arrays(), lr=0.5)
    other = way(optimizer)
    other.param_groups[0]["lr"] = 0.0
    assert optimizer.param_groups[0]["lr"] == 0.5
    before = jax.tree.map(jnp.copy, other.params)
    assert_same(steps(other, range(1)), before)
    with pytest.raises(TypeError, match="cannot be deleted"):
        del other.param_groups[0]["lr"]


@ways
def test_edits_and_gradients_are_copied(way):
    optimizer = optim.Adam(problem.arrays(), lr=0.5)
    optimizer.backward(lambda params: params["w"].sum())
    optimizer.param_groups[0].update(amsgrad=True, lr=fo.linear_schedule(1.0, 0.0, 10))
    other = way(optimizer)
    optimizer.step()
    other.step()
    assert_same(other.params, optimizer.params)
    assert_same(other.state, optimizer.state)


@ways
def test_path_groups_and_added_groups_are_copied(way):
    groups = optim.path_groups(problem.arrays(), {"^b": {"lr": 0.5}})
    optimizer = optim.SGD(groups, lr=0.1)
    optimizer.add_param_group({"params": jnp.ones(2)})
    other = way(optimizer)
    ones = jax.tree.map(jnp.ones_like, optimizer.params)
    optimizer.step(ones)
    other.step(ones)
    assert_same(other.params, optimizer.params)
    assert jax.tree.structure(other.params) == jax.tree.structure(optimizer.params)


def test_a_copy_shares_the_program():
    optimizer = optim.Adam(problem.arrays())
    other = copy.deepcopy(optimizer)
    gradients = grads(0)
    optimizer.step(gradients)
    with compilations() as found:
        other.step(gradients)
    assert found == []


@ways
def test_a_scheduler_is_copied_with_its_optimizer(way):
    optimizer = optim.SGD(problem.arrays(), lr=0.5)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step(problem.arrays())
    scheduler.step()
    other = way(scheduler)
    other.step()
    assert other.optimizer is not optimizer
    assert other.optimizer.param_groups[0]["lr"] == 0.125
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_shallow_copy_shares_the_existing_groups():
    optimizer = optim.SGD(problem.arrays(), lr=0.5, momentum=0.9)
    other = copy.copy(optimizer)
    steps(other, range(2))
    assert_same(optimizer.params, other.params)
    assert_same(optimizer.state, other.state)
    other.add_param_group({"params": jnp.ones(2)})
    assert_same(steps(optimizer, range(2, 3)), other.params[0])
    assert (len(optimizer.param_groups), len(other.param_groups)) == (1, 2)


@ways
def test_a_copy_of_param_groups_is_a_plain_list(way):
    groups = optim.SGD(problem.arrays(), lr=0.5).param_groups
    copied = way(groups)
    assert type(copied) is list
    assert copied[0].options == groups[0].options
