"""Steps that fail raise an error that says how to correct it, and the optimizer stays usable."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_same
from .makers import quadratic

ONE = {"w": jnp.ones(2)}


def test_only_a_group_can_be_added():
    optimizer = optim.SGD(ONE)
    for wrong in (ONE, [1.0], {"lr": 0.1}):
        with pytest.raises(TypeError, match=r"SGD\.add_param_group: param_group must be a dict"):
            optimizer.add_param_group(wrong)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"weight_decy": 0.1}, {"momentum": "x"}], ids=str)
def test_a_bad_group_is_not_added(bad):
    optimizer = optim.SGD(ONE)
    with pytest.raises((TypeError, ValueError)):
        optimizer.add_param_group({"params": jnp.ones(3), **bad})
    assert len(optimizer.param_groups) == 1
    optimizer.step({"w": jnp.ones(2)})
    optimizer.add_param_group({"params": jnp.ones(3)})
    optimizer.step([{"w": jnp.ones(2)}, jnp.ones(3)])
    assert [group["params"] for group in optimizer.state_dict()["param_groups"]] == [[0], [1]]


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("lr", -1.0, ValueError),
        ("lr", "fast", TypeError),
        ("lr", jnp.ones(2), ValueError),
        ("momentum", None, TypeError),
        ("nesterov", True, ValueError),
    ],
)
def test_a_bad_edit_raises_at_the_step_and_can_be_corrected(option, value, kind):
    optimizer = optim.SGD(ONE, lr=0.5)
    old = optimizer.param_groups[0][option]
    optimizer.param_groups[0][option] = value
    with pytest.raises(kind, match="SGD: group 0"):
        optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [1.0, 1.0]
    optimizer.param_groups[0][option] = old
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ({"v": jnp.ones(2)}, "no leaf at 'w'"),
        ({"w": jnp.ones(3)}, r"'w' has shape \(3,\)"),
        ([{"w": jnp.ones(2)}], "'w'|containers"),
        ({"w": jnp.ones(2), "v": jnp.ones(2)}, "leaf at 'v'"),
    ],
    ids=["name", "shape", "structure", "more"],
)
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_gradients_that_do_not_fit_change_nothing(make, gradients, message):
    optimizer = make(ONE)
    with pytest.raises(ValueError, match=message):
        optimizer.step(gradients)
    assert optimizer.step_count == 0
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.step_count == 1


def test_gradients_of_groups_come_as_a_list():
    optimizer = optim.SGD([{"params": ONE}, {"params": {"w": jnp.ones(2)}}])
    with pytest.raises(ValueError, match="expected a list of 2 trees, one for each group"):
        optimizer.step(ONE)
    with pytest.raises(ValueError, match="expected a list of 2 trees"):
        optimizer.step([ONE])


def test_a_failed_loss_leaves_the_optimizer_usable():
    def loss_fn(params, bad):
        return params["w"].sum() if not bad else params["nothing"]

    optimizer = optim.Adam(ONE)
    for act in (
        lambda: optimizer.backward(loss_fn, True),
        lambda: optimizer.step(lambda params: loss_fn(params, True)),
        lambda: optimizer.minimize(lambda params: loss_fn(params, True)),
        lambda: optimizer.minimize(lambda params: params["w"]),
    ):
        with pytest.raises((KeyError, TypeError, jax.errors.TracerBoolConversionError)):
            act()
    assert optimizer.minimize(lambda params: params["w"].sum()) == 2.0


def test_edits_reach_their_group_after_another_was_refused():
    optimizer = optim.SGD([{"params": jnp.ones(1)}], lr=0.1)
    with pytest.raises(TypeError, match="dtype int32"):
        optimizer.add_param_group({"params": jnp.ones(1, int), "lr": 1.0})
    optimizer.add_param_group({"params": jnp.ones(1), "lr": 0.25})
    optimizer.step([jnp.ones(1), jnp.ones(1)])
    optimizer.param_groups[1]["lr"] = 1.0
    optimizer.step([jnp.ones(1), jnp.ones(1)])
    assert optimizer.params[1].tolist() == [-0.25]


def test_a_closure_must_take_the_parameters():
    optimizer = optim.SGD(ONE)
    with pytest.raises(TypeError, match=r"closure must take the parameters .* closure\(params\)"):
        optimizer.step(lambda: 1.0)


CONSTANTS = {
    "reads": lambda optimizer: lambda params: optimizer.params["w"].sum(),
    "jitted": lambda optimizer: jax.jit(lambda params: optimizer.params["w"].sum()),
    "calls backward": lambda optimizer: (
        lambda params: optimizer.backward(lambda own: jnp.sum(own["w"] ** 2))
    ),
    "is a number": lambda optimizer: lambda params: 1.0,
    "stops": lambda optimizer: lambda params: jax.lax.stop_gradient(params["w"].sum()),
}
STEPS = {
    "step": lambda optimizer, loss: optimizer.step(loss),
    "backward": lambda optimizer, loss: optimizer.backward(loss),
    "minimize": lambda optimizer, loss: optimizer.minimize(loss),
    "aux": lambda optimizer, loss: optimizer.minimize(lambda p: (loss(p), 1), has_aux=True),
}
MAKERS = {
    "SGD": optim.SGD,
    "LBFGS": optim.LBFGS,
    "Optimizer": lambda params: optim.Optimizer(params, fo.adamw(0.1)),
    "groups": lambda params: optim.Adam(optim.path_groups(params, {"w": {"lr": 0.1}})),
}


@pytest.mark.filterwarnings("ignore:4 functions made")
@pytest.mark.parametrize("loss", CONSTANTS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_loss_that_does_not_depend_on_the_parameters_is_warned_of(maker, step, loss):
    traced = step != "step" or maker == "LBFGS"  # where backward within is an error
    if (maker, step) == ("LBFGS", "aux") or (traced and loss == "calls backward"):
        return
    optimizer, text = MAKERS[maker](ONE), "does not depend on the parameters"
    with pytest.warns(UserWarning, match=text) as found:
        STEPS[step](optimizer, CONSTANTS[loss](optimizer))
    assert {w.filename for w in found if text in str(w.message)} == {__file__}


@pytest.mark.filterwarnings("ignore:4 functions made")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_loss_that_depends_on_one_of_the_parameters_is_not_warned_of(maker, step):
    @jax.custom_vjp
    def own(x):
        return x.sum()

    own.defvjp(lambda x: (x.sum(), None), lambda _, g: (jnp.full(2, g),))
    losses = (
        lambda p: p["w"].sum(),
        jax.jit(lambda p: p["w"].sum()),
        jax.checkpoint(lambda p: p["w"].sum()),
        lambda p: own(p["w"]),
        lambda p: jax.lax.scan(lambda c, x: (c + x, None), jnp.zeros(()), p["w"])[0],
        lambda p: jax.vmap(lambda x: x)(p["w"]).sum(),
    )
    # The program of a loss is searched by the same code, whatever the optimizer.
    for loss in losses if maker == "SGD" else losses[:1]:
        if (maker, step) != ("LBFGS", "aux"):
            STEPS[step](MAKERS[maker]({"v": jnp.ones(1), **ONE}), loss)


ARRAY = jnp.ones(2)
LOSSES = {
    "a loss": (jnp.float32(1.0), r"loss_fn must be a function .* got an array of shape \(\)"),
    "a number": (1.0, r"loss_fn must be a function .* got 1\.0"),
    "aux": (
        lambda p: (p["w"].sum(), 1),
        r"got a tuple of 2\. For \(loss, aux\), pass has_aux=True",
    ),
    "an array": (lambda p: p["w"], r"got an array of shape \(2,\)\. Return a scalar"),
    "nothing": (lambda p: None, r"got NoneType\. Return the loss"),
    "a dict": (lambda p: {"loss": p["w"].sum()}, r"got dict\. Return a scalar"),
}


@pytest.mark.parametrize("method", ["backward", "minimize", "step"])
@pytest.mark.parametrize(("loss", "text"), LOSSES.values(), ids=LOSSES)
def test_errors_name_an_argument_that_is_not_a_loss(method, loss, text):
    if method == "step" and not callable(loss):
        return
    optimizer = optim.SGD(ONE)
    with pytest.raises(TypeError, match=rf"{method}: .*{text}"):
        getattr(optimizer, method)(loss)


def test_aux_is_missing():
    with pytest.raises(TypeError, match=r"has_aux=True .* got an array of shape \(\)"):
        optim.SGD(ONE).minimize(lambda p: p["w"].sum(), has_aux=True)


class Tensor:
    """An object with the attributes by which torch's tensors are recognized."""

    def detach(self):
        return self


def weighted(params, *data, **named):
    return params["w"].sum() + sum(x.sum() for x in jax.tree.leaves((data, named)))


@pytest.mark.parametrize(
    ("act", "path"),
    [
        (lambda opt, x: opt.backward(weighted, ARRAY, x), r"SGD\.backward: 'args\.1'"),
        (
            lambda opt, x: opt.minimize(weighted, [ARRAY, {"y": x}]),
            r"SGD\.minimize: 'args\.0\.1\.y'",
        ),
        (lambda opt, x: opt.minimize(weighted, y=x), r"SGD\.minimize: 'kwargs\.y'"),
        (lambda opt, x: opt.step({"w": x}), r"SGD\.step: 'grads\.w'"),
    ],
)
@pytest.mark.parametrize("differentiable", [False, True])
def test_tensors_and_deleted_arrays_are_named(act, path, differentiable):
    optimizer = optim.SGD({"w": jnp.ones(2)}, differentiable=differentiable)
    with pytest.raises(TypeError, match=rf"{path} is a tensor of torch\. .*x\.numpy\(\)"):
        act(optimizer, Tensor())
    deleted = jnp.ones(2)
    deleted.delete()
    with pytest.raises(RuntimeError, match=rf"{path.split()[1]} has been deleted.*copy_params\(\)"):
        act(optimizer, deleted)
    optimizer.step(ONE)
    assert optimizer.step_count == 1


def test_deleted_parameters_are_named():
    optimizer = optim.SGD(ONE)
    old = optimizer.params
    optimizer.step(ONE)
    for act in (
        lambda: setattr(optimizer, "params", old),
        lambda: optim.SGD(old),
        lambda: optimizer.add_param_group({"params": old}),
    ):
        with pytest.raises(
            RuntimeError, match=r"the array at 'w' has been deleted.*copy_params\(\)"
        ):
            act()


def test_gradients_and_a_closure_do_not_go_together():
    optimizer = optim.SGD(ONE)
    with pytest.raises(TypeError, match="got gradients and a closure"):
        optimizer.step(ONE, closure=lambda params: params["w"].sum())


def test_a_callable_tree_is_a_tree_of_gradients():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Model:
        w: jax.Array

        def __call__(self, x):
            raise AssertionError

    optimizer = optim.SGD(Model(jnp.ones(2)), lr=0.5)
    optimizer.step(Model(jnp.ones(2)))
    assert optimizer.params.w.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
@pytest.mark.parametrize(
    "act",
    [
        lambda optimizer, x: optimizer.step({"w": jnp.full(2, x)}),
        lambda optimizer, x: optimizer.minimize(quadratic, x),
        lambda optimizer, x: optimizer.backward(quadratic, x),
        lambda optimizer, x: optimizer.step(lambda params: quadratic(params, x)),
    ],
    ids=["step", "minimize", "backward", "closure"],
)
def test_a_step_within_a_trace_is_refused_and_changes_nothing(act, transform):
    optimizer = optim.Adam(ONE)
    with pytest.raises(RuntimeError, match="within a trace"):
        transform(lambda x: act(optimizer, x))(1.0)
    assert_same(optimizer.params, ONE)
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.step_count == 1


def test_a_step_with_known_gradients_within_a_trace_is_refused():
    optimizer, gradients = optim.SGD(ONE), {"w": jnp.ones(2)}
    with pytest.raises(RuntimeError, match=r"SGD\.step: called within a trace"):
        jax.jit(lambda: optimizer.step(gradients))()
    assert_same(optimizer.params, ONE)


@pytest.mark.parametrize("make", [optim.SGD, lambda p: optim.Optimizer(p, fo.sgd(1e-3))])
def test_a_traced_edit_is_refused_at_once_and_leaves_the_option(make):
    optimizer = make(ONE)
    key = "lr" if "lr" in optimizer.defaults else "learning_rate"
    for edit in (
        lambda value: optimizer.param_groups[0].update({key: value}),
        lambda value: optimizer.param_groups[0].__setitem__(key, value),
    ):
        with pytest.raises(RuntimeError, match=rf"group 0: {key} was given a traced .*True\."):
            jax.jit(edit)(0.5)
    assert optimizer.param_groups[0][key] == 1e-3
    optimizer.step({"w": jnp.ones(2)})


def test_an_optimizer_made_within_a_trace_takes_traced_edits():
    def trained(lr, **options):
        optimizer = optim.SGD(ONE, **options)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step({"w": jnp.ones(2)})
        return optimizer.params["w"].sum()

    assert jax.jit(trained)(0.25) == 1.5
    assert jax.grad(lambda lr: trained(lr, differentiable=True))(0.25) == -2.0


def test_the_error_within_a_trace_names_the_option_that_allows_it():
    def trained(lr):
        optimizer = optim.SGD(ONE, lr=lr)
        optimizer.step({"w": jnp.ones(2)})
        return optimizer.params["w"].sum()

    with pytest.raises(RuntimeError, match="make the optimizer within, with differentiable=True"):
        jax.grad(trained)(0.25)


def test_gradients_may_share_the_memory_of_the_parameters():
    optimizer = optim.SGD(ONE, lr=0.5)
    optimizer.step(optimizer.params)
    assert optimizer.params["w"].tolist() == [0.5, 0.5]


def test_arguments_of_a_loss_may_share_the_memory_of_the_parameters():
    optimizer = optim.SGD(ONE, lr=0.5)
    optimizer.minimize(lambda params, old: jnp.vdot(params["w"], old["w"]), optimizer.params)
    assert optimizer.params["w"].tolist() == [0.5, 0.5]


def test_a_step_that_fails_while_it_runs_says_that_the_parameters_are_lost():
    def loss_fn(params):
        def fail(x):
            raise ValueError("broken")

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return params["w"].sum() + jax.pure_callback(
            fail, shape, jax.lax.stop_gradient(params["w"])
        )

    optimizer = optim.SGD(ONE)
    with pytest.raises(RuntimeError, match="after parameters and state had been donated"):
        optimizer.minimize(loss_fn)
    safe = optim.SGD(ONE, differentiable=True)
    with pytest.raises(Exception, match="broken"):
        safe.minimize(loss_fn)
    assert_same(safe.params, ONE)
    assert_same(ONE, {"w": np.ones(2)})


def test_a_pair_that_changes_its_state_is_named():
    tx = fo.GradientTransformation(lambda params: (), lambda g, s, p: (g, (*s, 0)))
    with pytest.raises(ValueError, match="after update, the state of group 0 has another"):
        optim.Optimizer(ONE, tx).step(ONE)


def test_an_update_that_fails_says_in_which_group():
    def update(g, state, params):
        if params.shape == (2,):
            raise ZeroDivisionError
        return g, state

    groups = [{"params": jnp.ones(1)}, {"params": jnp.ones(2)}]
    optimizer = optim.Optimizer(groups, fo.GradientTransformation(lambda params: (), update))
    with pytest.raises(ZeroDivisionError) as caught:
        optimizer.step([jnp.ones(1), jnp.ones(2)])
    assert caught.value.__notes__[0] == "In the group 1 of the optimizer."
