"""Hooks: their order and arguments, the changes that they may make, and their removal."""

import copy
import gc
import pickle
import weakref

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

ONES = {"w": jnp.ones(2)}
MAKERS = {
    "SGD": lambda: optim.SGD(ONES, lr=0.5),
    "Optimizer": lambda: optim.Optimizer(ONES, fo.sgd(0.5)),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def half_square(params):
    return jnp.sum(params["w"] ** 2) / 2


STEPS = {
    "gradients": lambda opt: opt.step({"w": jnp.ones(2)}),
    "closure": lambda opt: opt.step(half_square),
    "minimize": lambda opt: opt.minimize(half_square),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@each
def test_hooks_of_steps_run_from_all_optimizers_to_this_one_and_back(make, step):
    optimizer, calls = make(), []

    def noting(name):
        return lambda opt, args, kwargs: calls.append((name, float(opt.params["w"][0])))

    optimizer.register_step_post_hook(noting("after"))
    optimizer.register_step_pre_hook(noting("before 1"))
    optimizer.register_step_pre_hook(noting("before 2"))
    with (
        optim.register_optimizer_step_post_hook(noting("after all")),
        optim.register_optimizer_step_pre_hook(noting("before all")),
    ):
        step(optimizer)
    assert calls == [
        ("before all", 1.0),
        ("before 1", 1.0),
        ("before 2", 1.0),
        ("after", 0.5),
        ("after all", 0.5),
    ]
    step(optimizer)
    assert [name for name, _ in calls[5:]] == ["before 1", "before 2", "after"]


def test_a_hook_gets_the_arguments_with_the_optimizer_first():
    optimizer, seen, gradients = MAKERS["SGD"](), [], {"w": jnp.ones(2)}
    optimizer.register_step_pre_hook(lambda *given: seen.append(given))
    optimizer.register_step_post_hook(lambda *given: seen.append(given))
    optimizer.step(gradients)
    optimizer.step(closure=half_square)
    assert seen[:2] == [(optimizer, (optimizer, gradients), {})] * 2
    assert seen[2:] == [(optimizer, (optimizer,), {"closure": half_square})] * 2


@each
def test_a_hook_may_replace_the_arguments(make):
    optimizer = make()
    optimizer.register_step_pre_hook(
        lambda opt, args, kwargs: ((opt, {"w": 2 * args[1]["w"]}), kwargs)
    )
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: None)
    seen = []
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(args[1]["w"].tolist()))
    optimizer.step({"w": jnp.array([1.0, 0.0])})
    assert optimizer.params["w"].tolist() == [0.0, 1.0]
    assert seen == [[2.0, 0.0]]


@pytest.mark.parametrize("wrong", [1, (1, 2, 3), {"w": 1}], ids=str)
def test_a_hook_that_returns_anything_else_is_an_error(wrong):
    optimizer = MAKERS["SGD"]()
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: wrong)
    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args, new_kw"):
        optimizer.step({"w": jnp.ones(2)})
    assert optimizer.step_count == 0


@each
def test_hooks_of_state_dict_run_around_it_and_may_change_it(make):
    optimizer, calls = make(), []
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append(("before", opt)))
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append(("first", opt)), prepend=True)
    optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "more": 1})
    optimizer.register_state_dict_post_hook(lambda opt, state: state.update(less=2))
    optimizer.register_state_dict_post_hook(
        lambda opt, state: calls.append((sorted(state), opt)), prepend=True
    )
    state = optimizer.state_dict()
    assert calls == [
        ("first", optimizer),
        ("before", optimizer),
        (["param_groups", "state"], optimizer),
    ]
    assert (state["more"], state["less"]) == (1, 2)


@each
def test_hooks_run_before_and_after_loading_and_may_change_the_state(make):
    optimizer, calls = make(), []
    key = "lr" if "lr" in optimizer.param_groups[0] else "learning_rate"
    saved = optimizer.state_dict()

    def halve(opt, state):
        groups = [{**group, key: group[key] / 2} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def mark(opt, state):
        state["marked"] = True  # in a copy

    def note(opt, *state):
        calls.append((opt.param_groups[0][key], *("marked" in s for s in state)))

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_pre_hook(note)
    optimizer.register_load_state_dict_pre_hook(mark, prepend=True)
    optimizer.register_load_state_dict_post_hook(note)
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append("first"), prepend=True)
    optimizer.load_state_dict(saved)
    assert calls == [(0.5, True), "first", (0.25,)]
    assert "marked" not in saved
    assert saved["param_groups"][0][key] == 0.5


REGISTER = {
    "step_pre": ("register_step_pre_hook", 0),
    "step_post": ("register_step_post_hook", 0),
    "state_dict_pre": ("register_state_dict_pre_hook", 1),
    "state_dict_post": ("register_state_dict_post_hook", 1),
    "load_state_dict_pre": ("register_load_state_dict_pre_hook", 2),
    "load_state_dict_post": ("register_load_state_dict_post_hook", 2),
}


def act(optimizer):
    optimizer.step({"w": jnp.ones(2)})
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("name", REGISTER)
def test_a_handle_removes_its_hook_alone(name):
    optimizer, calls = MAKERS["SGD"](), []
    register = getattr(optimizer, REGISTER[name][0])

    def hook(*_):
        calls.append(1)

    handle, other = register(hook), register(hook)
    act(optimizer)
    handle.remove()
    handle.remove()
    act(optimizer)
    assert len(calls) == 3
    with other:
        act(optimizer)
    act(optimizer)
    assert len(calls) == 4


def test_a_hook_may_remove_itself():
    optimizer, calls = MAKERS["SGD"](), []

    def once(*_):
        calls.append("once")
        handle.remove()

    handle = optimizer.register_step_pre_hook(once)
    optimizer.register_step_pre_hook(lambda *_: calls.append("always"))
    act(optimizer)
    act(optimizer)
    assert calls == ["once", "always", "always"]


def test_a_handle_does_not_keep_the_optimizer():
    optimizer = MAKERS["SGD"]()
    handle, alive = optimizer.register_step_pre_hook(print), weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert alive() is None
    handle.remove()


def test_a_copy_calls_the_hooks_and_a_pickled_one_has_none():
    optimizer, seen = MAKERS["SGD"](), []
    handle = optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(opt))
    copied, pickled = copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))
    handle.remove()
    for each_one in (optimizer, copied, pickled):
        act(each_one)
    assert seen == [copied]
    pickled.register_step_pre_hook(lambda opt, args, kwargs: seen.append(opt))
    act(pickled)
    assert seen == [copied, pickled]


def test_gradients_can_be_clipped_by_a_hook():
    optimizer = MAKERS["SGD"]()
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: opt.clip_grad_norm_(1.0) and None)
    optimizer.backward(lambda params: jnp.sum(params["w"] * np.array([3.0, 4.0], np.float32)))
    optimizer.step()
    np.testing.assert_allclose(optimizer.params["w"], [1 - 0.3, 1 - 0.4], rtol=1e-5)


CLASSES = [cls for cls in vars(optim).values() if hasattr(cls, "transformation")]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_hooks_of_every_class_are_called_once(cls):
    optimizer, calls = cls({"w": jnp.ones((2, 2))}), []
    for name, _ in REGISTER.values():
        getattr(optimizer, name)(lambda *_, name=name: calls.append(name))
    optimizer.step(*[half_square] * (cls is optim.LBFGS))  # without gradients nothing moves
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == [name for name, _ in REGISTER.values()]
