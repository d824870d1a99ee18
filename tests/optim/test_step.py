"""Gradients in, parameters out: backward, step, closures, minimize, zero_grad."""

import gc
import operator
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

from .. import problem
from ..trees import assert_close, assert_same
from .makers import each_kind, grads, quadratic


def line(params, slope):
    return slope * params["w"].sum()


def test_backward_returns_the_loss_and_keeps_the_gradient():
    optimizer = optim.SGD({"w": jnp.array([1.0, -2.0])}, lr=0.5)
    assert optimizer.grads is None
    assert float(optimizer.backward(quadratic, 1.0)) == 4.5
    assert_same(optimizer.grads, {"w": jnp.array([0.0, -3.0])})
    assert_same(optimizer.params, {"w": jnp.array([1.0, -2.0])})


def test_backward_accumulates_until_zero_grad():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    for slope in (1.0, 2.0, 4.0):
        optimizer.backward(line, slope)
    assert_same(optimizer.grads, {"w": jnp.full(2, 7.0)})
    optimizer.step()
    assert_same(optimizer.params, {"w": jnp.full(2, -2.5)})
    assert_same(optimizer.grads, {"w": jnp.full(2, 7.0)})
    optimizer.zero_grad(set_to_none=False)
    assert_same(optimizer.grads, {"w": jnp.zeros(2)})
    optimizer.zero_grad()
    assert optimizer.grads is None


def test_backward_passes_arguments_and_returns_aux():
    def loss_fn(params, x, *, shift):
        return jnp.sum(params["w"] * x) + shift, {"x": x}

    optimizer = optim.SGD({"w": jnp.ones(2)})
    loss, aux = optimizer.backward(loss_fn, jnp.array([1.0, 2.0]), shift=0.5, has_aux=True)
    assert float(loss) == 3.5
    assert_same(aux, {"x": jnp.array([1.0, 2.0])})


def test_zero_gradients_change_moments_and_none_changes_nothing():
    params = {"w": jnp.ones(2), "v": jnp.ones(2)}
    optimizer = optim.Adam(params, lr=0.1, weight_decay=0.1)
    optimizer.step({"w": jnp.zeros(2), "v": None})
    assert optimizer.params["w"].tolist() != [1.0, 1.0]
    assert_same(optimizer.params["v"], jnp.ones(2))
    assert sorted(optimizer.state_dict()["state"]) == [1]


@each_kind
def test_a_step_without_gradients_does_nothing(make):
    params = problem.arrays()
    optimizer = make(params)
    optimizer.step(grads(0))
    assert optimizer.step() is None
    assert optimizer.step_count == 1
    nothing = jax.tree.map(lambda _: None, params)
    trained = optimizer.copy_params()
    optimizer.step(nothing)  # from here on, each parameter has its own count
    before = jax.tree.map(jnp.copy, (optimizer.params, optimizer.state))
    assert_same(before[0], trained)
    optimizer.step(nothing)
    assert_same(optimizer.params, before[0])
    assert_same(
        *([_of_leaves(state) for state in states] for states in (optimizer.state, before[1]))
    )


def _of_leaves(state):
    """Returns the fields of all links, except the count of calls and the metrics."""
    return [
        {k: v for k, v in link._asdict().items() if k not in ("count", "metrics")} for link in state
    ]


def test_step_takes_gradients_of_a_narrower_dtype():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    optimizer.step({"w": jnp.ones(2, jnp.bfloat16)})
    assert_same(optimizer.params, {"w": jnp.full(2, 0.5)})


def test_step_takes_numpy_gradients():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    optimizer.step({"w": np.ones(2, np.float32)})
    assert_same(optimizer.params, {"w": jnp.full(2, 0.5)})


@pytest.mark.parametrize("named", [False, True])
def test_step_with_a_closure_returns_its_loss(named):
    optimizer = optim.SGD({"w": jnp.array([3.0])}, lr=0.5)

    def closure(params):
        return quadratic(params, 1.0)

    loss = optimizer.step(closure=closure) if named else optimizer.step(closure)
    assert float(loss) == 2.0
    assert optimizer.params["w"].tolist() == [2.0]
    assert float(optimizer.step(closure)) == 0.5


@each_kind
def test_minimize_is_backward_and_step(make):
    fast, slow = make(problem.arrays()), make(problem.arrays())
    for target in (1.0, -1.0, 2.0):
        loss = fast.minimize(quadratic, target)
        slow.zero_grad()
        np.testing.assert_allclose(loss, slow.backward(quadratic, target), rtol=1e-6)
        slow.step()
    assert_close(fast.params, slow.params, rtol=2e-6, atol=1e-6)
    assert fast.step_count == 3
    assert fast.grads is None


def test_minimize_returns_aux():
    def loss_fn(params, shift):
        return jnp.sum(params["w"]) + shift, params["w"]

    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    loss, aux = optimizer.minimize(loss_fn, 1.0, has_aux=True)
    assert float(loss) == 3.0
    assert aux.tolist() == [1.0, 1.0]


def test_minimize_gives_the_loss_the_structure_that_was_passed():
    def loss_fn(params):
        first, second = params
        return jnp.sum(first["a"]) + 2 * jnp.sum(second)

    optimizer = optim.SGD([{"params": {"a": jnp.ones(1)}}, {"params": jnp.ones(1)}], lr=0.5)
    optimizer.minimize(loss_fn)
    assert_same(optimizer.params, [{"a": jnp.array([0.5])}, jnp.array([0.0])])


@pytest.mark.parametrize("method", ["minimize", "backward", "closure"])
def test_complex_parameters_descend(method):
    target = 1.0 - 2.0j
    optimizer = optim.Adam({"z": jnp.array([3.0 + 1.0j])}, lr=0.1)
    for _ in range(200):
        if method == "minimize":
            optimizer.minimize(quadratic, target)
        elif method == "closure":
            optimizer.step(lambda params: quadratic(params, target))
        else:
            optimizer.zero_grad()
            optimizer.backward(quadratic, target)
            optimizer.step()
    np.testing.assert_allclose(optimizer.params["z"], [target], atol=1e-2)


def test_maximize_ascends():
    optimizer = optim.SGD({"w": jnp.array([0.0])}, lr=0.5, maximize=True)
    optimizer.minimize(line, 1.0)
    assert optimizer.params["w"].tolist() == [0.5]


def test_step_count_counts_steps():
    optimizer = optim.SGD({"w": jnp.ones(1)})
    optimizer.step()
    optimizer.minimize(line, 1.0)
    optimizer.step({"w": jnp.ones(1)})
    assert optimizer.step_count == 2


@pytest.mark.parametrize(
    "gradients", [[None, {"w": jnp.ones(1)}], [{"v": None}, {"w": jnp.ones(1)}]]
)
def test_none_may_replace_the_gradients_of_a_group(gradients):
    optimizer = optim.SGD([{"params": {"v": jnp.ones(1)}}, {"params": {"w": jnp.ones(1)}}], lr=0.5)
    optimizer.step(gradients)
    assert_same(optimizer.params, [{"v": jnp.ones(1)}, {"w": jnp.full(1, 0.5)}])
    optimizer.grads = gradients
    optimizer.step()
    assert_same(optimizer.params, [{"v": jnp.ones(1)}, {"w": jnp.zeros(1)}])


def test_none_may_replace_the_gradients_of_a_subtree():
    params = {"frozen": {"a": jnp.ones(1), "b": jnp.ones(2)}, "w": jnp.ones(1)}
    optimizer = optim.Adam(params, lr=0.5)
    optimizer.step({"frozen": None, "w": jnp.ones(1)})
    assert_same(optimizer.params["frozen"], params["frozen"])
    assert optimizer.params["w"].tolist() == [0.5]


@pytest.mark.parametrize("method", ["minimize", "backward"])
def test_arrays_that_a_loss_closes_over_are_freed_with_it(method):
    optimizer = optim.SGD({"w": jnp.ones(2)})
    batches = []
    for i in range(3):
        batch = jnp.full(2, float(i))
        getattr(optimizer, method)(lambda p, batch=batch: jnp.sum(p["w"] * batch))
        batches.append(weakref.ref(batch))
    del batch
    gc.collect()
    assert [ref() for ref in batches] == [None] * 3


def test_a_run_within_one_trace_is_allowed():
    def run(start):
        optimizer = optim.SGD({"w": start}, lr=0.5)
        optimizer.step({"w": jnp.ones(2)})
        optimizer.minimize(lambda params: params["w"].sum())
        return optimizer.params["w"]

    assert jax.jit(run)(jnp.ones(2)).tolist() == [0.0, 0.0]


def test_a_group_of_path_groups_takes_none_for_a_subtree():
    tree = {"a": {"q": jnp.ones(2), "k": jnp.ones(1)}, "b": {"w": jnp.ones(1)}}
    optimizer = optim.SGD(optim.path_groups(tree, {"^b": {}}), lr=1.0)
    optimizer.step({"a": None, "b": {"w": jnp.ones(1)}})
    assert_same(
        optimizer.params, {"a": {"q": jnp.ones(2), "k": jnp.ones(1)}, "b": {"w": jnp.zeros(1)}}
    )


def test_gradients_are_added_to_those_of_a_group_that_had_none():
    optimizer = optim.SGD([{"params": {"v": jnp.ones(1)}}, {"params": {"w": jnp.ones(1)}}], lr=0.5)
    optimizer.grads = [None, {"w": jnp.ones(1)}]
    optimizer.backward(lambda params: params[0]["v"].sum() + params[1]["w"].sum())
    optimizer.step()
    assert_same(optimizer.params, [{"v": jnp.full(1, 0.5)}, {"w": jnp.zeros(1)}])


def test_arrays_that_a_loss_reads_can_be_passed_as_arguments():
    def loss_fn(params, other):
        return jnp.vdot(params["w"], other["w"])

    first, second = (optim.SGD({"w": jnp.ones(1)}, lr=0.5) for _ in range(2))
    for _ in range(2):
        first.minimize(loss_fn, second.params)
        second.minimize(loss_fn, first.params)
    np.testing.assert_allclose(first.params["w"], [1 - 0.5 - 0.5 * 0.75])


@pytest.mark.parametrize("method", ["minimize", "step"])
def test_a_loss_may_be_any_callable(method):
    optimizer = optim.SGD({"w": jnp.ones(())}, lr=0.5)
    loss_fn = operator.itemgetter("w")  # neither a signature nor weak references
    assert [float(getattr(optimizer, method)(loss_fn)) for _ in range(2)] == [1.0, 0.5]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_drops_gradients_or_sets_them_to_zero(set_to_none):
    optimizer = optim.SGD({"w": jnp.ones(2), "v": jnp.ones(1)}, lr=0.5, weight_decay=1.0)
    optimizer.zero_grad(set_to_none)
    assert optimizer.grads is None
    optimizer.grads = {"w": jnp.ones(2), "v": None}
    optimizer.zero_grad(set_to_none=set_to_none)
    optimizer.step()
    assert optimizer.params["v"].tolist() == [1.0]
    # With zero gradients the parameters decay; without gradients they do not change.
    assert optimizer.params["w"].tolist() == ([1.0, 1.0] if set_to_none else [0.5, 0.5])
