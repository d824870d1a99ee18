"""A step donates the memory of the old parameters and state, and of nothing else."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim
from functional_optim.core.rules.bound_rule import ENGINE_FIELDS

from .. import problem
from ..trees import assert_same
from .makers import each, grads, quadratic

ACTIONS = {
    "step": lambda optimizer: optimizer.step(grads(0)),
    "closure": lambda optimizer: optimizer.step(lambda params: quadratic(params, 1.0)),
    "minimize": lambda optimizer: optimizer.minimize(quadratic, 1.0),
}
actions = pytest.mark.parametrize("act", ACTIONS.values(), ids=ACTIONS)


def slots(state):
    """Returns the arrays of a state that are as large as a parameter."""
    return [
        x
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if x.ndim and not {getattr(key, "name", None) for key in path} & set(ENGINE_FIELDS)
    ]


@actions
@each
def test_arrays_that_were_passed_stay_valid(make, act):
    params = problem.arrays()
    before = jax.tree.map(np.array, params)
    optimizer = make(params)
    for _ in range(2):
        act(optimizer)
    assert_same(params, before)


@actions
@each
def test_the_old_parameters_and_state_are_donated(make, act):
    optimizer = make(problem.arrays())
    # A first step, because constants that init returns may be shared.
    act(optimizer)
    params, state = optimizer.params, optimizer.state
    act(optimizer)
    assert all(p.is_deleted() for p in jax.tree.leaves(params))
    assert all(x.is_deleted() for x in slots(state))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(params["w"])


def test_an_interrupt_leaves_the_parameters_valid():
    def interrupt(*_):
        raise KeyboardInterrupt

    x, old = jnp.ones((64, 256)), signal.signal(signal.SIGALRM, interrupt)
    try:
        for k in range(4):
            optimizer = optim.AdamW({"v": jnp.ones((256, 256)), "w": jnp.ones((256, 256))})
            optimizer.minimize(tanh_network, x)
            signal.setitimer(signal.ITIMER_REAL, 0.03 + 0.001 * k)
            with pytest.raises(KeyboardInterrupt):
                minimize_forever(optimizer, x)
            assert not any(p.is_deleted() for p in jax.tree.leaves(optimizer.params))
    finally:
        signal.signal(signal.SIGALRM, old)


def minimize_forever(optimizer, x):
    while True:
        optimizer.minimize(tanh_network, x)


def tanh_network(params, x):
    return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"]) ** 2)


def test_gradients_stay_valid():
    given = grads(0)
    optimizer = optim.Adam(problem.arrays())
    optimizer.step(given)
    optimizer.step(given)
    assert_same(given, grads(0))
    optimizer.backward(quadratic, 1.0)
    kept = optimizer.grads
    optimizer.step()
    assert optimizer.grads is kept
    assert all(not g.is_deleted() for g in jax.tree.leaves(kept))


def test_assigned_parameters_stay_valid():
    optimizer = optim.SGD(problem.arrays())
    mine = problem.arrays(seed=7)
    optimizer.params = mine
    optimizer.step(grads(0))
    assert_same(mine, problem.arrays(seed=7))


def test_two_optimizers_may_share_their_first_parameters():
    params = problem.arrays()
    first, second = optim.SGD(params), optim.SGD(params)
    first.step(grads(0))
    second.step(grads(0))
    assert_same(first.params, second.params)


def test_one_array_may_be_passed_twice():
    w = jnp.ones(2)
    with pytest.warns(UserWarning, match="'a' and 'b' are one array") as found:
        optimizer = optim.SGD({"a": w, "b": w}, lr=0.5)
    assert [w.filename for w in found] == [__file__]
    optimizer.step({"a": jnp.ones(2), "b": jnp.zeros(2)})
    assert_same(optimizer.params, {"a": jnp.full(2, 0.5), "b": jnp.ones(2)})


@actions
def test_a_differentiable_optimizer_deletes_nothing(act):
    optimizer = optim.Adam(problem.arrays(), differentiable=True)
    params, state = optimizer.params, optimizer.state
    act(optimizer)
    assert not any(x.is_deleted() for x in jax.tree.leaves((params, state)))


def test_copies_of_the_parameters_stay_valid():
    optimizer = optim.Adam(problem.arrays())
    kept = optimizer.copy_params()
    optimizer.step(grads(0))
    assert_same(kept, problem.arrays())


@pytest.mark.parametrize(
    "act",
    [
        lambda optimizer: optimizer.step(lambda params: params["w"]),
        lambda optimizer: optimizer.minimize(lambda params: params["w"]),
        lambda optimizer: optimizer.backward(lambda params: params["w"]),
        lambda optimizer: optimizer.backward(lambda p: (p["w"], p["w"]), has_aux=True)[1],
        lambda optimizer: optimizer.minimize(lambda p: (p["w"], p["w"]), has_aux=True)[1],
    ],
    ids=["closure", "minimize", "backward", "backward-aux", "minimize-aux"],
)
def test_the_value_of_a_loss_stays_valid(act):
    optimizer = optim.SGD({"w": jnp.array(3.0)})
    found = act(optimizer)
    optimizer.step({"w": jnp.ones(())})
    assert float(found) == 3.0
