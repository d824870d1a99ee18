"""Misuse of the optimizers ends in a message that says what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

ONE = {"w": jnp.ones(2)}


def group(**options):
    return [{"params": ONE, **options}]


CONSTRUCTION = {
    "set": (lambda: optim.SGD({1.0, 2.0}), TypeError, "set, which has no fixed order"),
    "generator": (lambda: optim.SGD(x for x in [jnp.ones(1)]), TypeError, "generator"),
    "nothing": (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
    "no array": (lambda: optim.SGD({"a": None}), ValueError, "empty parameter list"),
    "text": (lambda: optim.SGD({"a": "b"}), TypeError, r"parameter at 'a' is of type str"),
    "integers": (lambda: optim.SGD({"a": jnp.ones(1, int)}), TypeError, "'a' has dtype int32"),
    "learning rate": (
        lambda: optim.SGD(ONE, lr=-1.0),
        ValueError,
        r"SGD: .*learning_rate must be in \[0, inf\), got -1\.0",
    ),
    "nan": (lambda: optim.Adam(ONE, lr=float("nan")), ValueError, "learning_rate must be in"),
    "text for a number": (
        lambda: optim.Adam(ONE, lr="1"),
        TypeError,
        "learning_rate must be a real",
    ),
    "none for a number": (lambda: optim.Adam(ONE, lr=None), TypeError, "learning_rate must be a"),
    "no momentum": (lambda: optim.SGD(ONE, momentum=None), TypeError, "momentum must be a real"),
    "momentum": (lambda: optim.SGD(ONE, momentum=-2), ValueError, "momentum must be in .* got -2"),
    "decay": (lambda: optim.SGD(ONE, weight_decay=-0.5), ValueError, "weight_decay must be in"),
    "nesterov": (
        lambda: optim.SGD(ONE, nesterov=True),
        ValueError,
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    "nesterov with dampening": (
        lambda: optim.SGD(ONE, momentum=0.9, dampening=0.5, nesterov=True),
        ValueError,
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    "b1": (lambda: optim.Adam(ONE, betas=(1, 0.9)), ValueError, r"b1 must be in \[0, 1\), got 1"),
    "b2": (lambda: optim.AdamW(ONE, betas=(0.9, -0.1)), ValueError, r"b2 must be in \[0, 1\)"),
    "one beta": (lambda: optim.Adam(ONE, betas=0.9), TypeError, "betas"),
    "three betas": (lambda: optim.Adam(ONE, betas=(0.9,) * 3), (TypeError, ValueError), "betas"),
    "eps": (lambda: optim.Adam(ONE, eps=-1e-8), ValueError, r"eps must be in \[0, inf\)"),
    "alpha": (lambda: optim.RMSprop(ONE, alpha=-0.1), ValueError, "alpha|decay must be in"),
    "array of two": (
        lambda: optim.SGD(ONE, lr=jnp.ones(2)),
        ValueError,
        r"Tensor lr must be 1-element, got shape \(2,\)",
    ),
    "array of two betas": (
        lambda: optim.Adam(ONE, betas=(np.ones(2), 0.9)),
        ValueError,
        "Tensor betas.* must be 1-element",
    ),
    "unknown argument": (
        lambda: optim.SGD(ONE, learning_rate=0.1),
        TypeError,
        r"SGD: got an unexpected keyword argument 'learning_rate'.* It takes \(lr=0\.001",
    ),
    "many arguments": (lambda: optim.RMSprop(ONE, *[0] * 11), TypeError, "RMSprop: too many"),
    "fused and differentiable": (
        lambda: optim.Adam(ONE, fused=True, differentiable=True),
        RuntimeError,
        "`fused` does not support `differentiable`",
    ),
    "fused and foreach": (
        lambda: optim.Adam(ONE, fused=True, foreach=True),
        RuntimeError,
        "`fused` and `foreach` cannot be `True` together",
    ),
    "flag": (lambda: optim.Adam(ONE, foreach="yes"), TypeError, "foreach must be True, False or"),
    "option of a group": (
        lambda: optim.SGD(group(lr=-1.0)),
        ValueError,
        "SGD: group 0: .*learning_rate must be in",
    ),
    "misspelt option": (
        lambda: optim.SGD(group(weight_decy=0.1)),
        ValueError,
        "group 0 has the unknown option 'weight_decy'. Did you mean 'weight_decay'",
    ),
    "static option": (lambda: optim.Adam(ONE, amsgrad="yes"), TypeError, "amsgrad must be"),
}


@pytest.mark.parametrize(("make", "kind", "message"), CONSTRUCTION.values(), ids=CONSTRUCTION)
def test_a_bad_construction_says_why(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_what_is_not_a_group_cannot_be_added():
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
def test_a_bad_edit_is_refused_at_the_step_and_can_be_mended(option, value, kind):
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
    optimizer = optim.SGD([{"params": ONE}, {"params": ONE}])
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


@pytest.mark.parametrize(
    "act",
    [
        lambda g: g.__delitem__("lr"),
        lambda g: g.pop("lr"),
        lambda g: g.popitem(),
        lambda g: g.clear(),
    ],
    ids=["del", "pop", "popitem", "clear"],
)
def test_an_option_cannot_be_deleted(act):
    optimizer = optim.SGD(ONE, lr=0.5)
    with pytest.raises(TypeError, match=r"cannot be deleted\. Assign another value"):
        act(optimizer.param_groups[0])
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_the_parameters_of_a_group_cannot_be_assigned():
    optimizer = optim.SGD(ONE)
    with pytest.raises(TypeError, match=r"'params' cannot be assigned. Assign optimizer\.params"):
        optimizer.param_groups[0]["params"] = ONE


@pytest.mark.parametrize(
    "edit",
    [
        lambda g: g.update(lr=0.25),
        lambda g: g.update({"lr": 0.25}),
        lambda g: g.__ior__({"lr": 0.25}),
        lambda g: g.__setitem__("lr", 0.25),
    ],
    ids=["update", "update-dict", "or", "set"],
)
def test_every_way_of_editing_is_noticed(edit):
    optimizer = optim.SGD(ONE, lr=0.5)
    edit(optimizer.param_groups[0])
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [0.75, 0.75]


def test_a_wrong_state_of_a_wrapped_pair_names_the_link():
    optimizer = optim.Optimizer(ONE, fo.chain(fo.adam(0.1)))
    with pytest.raises(ValueError, match="adam"):
        optimizer.step({"v": jnp.ones(2)})
