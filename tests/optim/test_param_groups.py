"""param_groups: dicts that may be edited, in a list that stays."""

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

ONE = {"w": jnp.ones(2)}


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
def test_every_way_of_editing_takes_effect(edit):
    optimizer = optim.SGD(ONE, lr=0.5)
    edit(optimizer.param_groups[0])
    optimizer.step({"w": jnp.ones(2)})
    assert optimizer.params["w"].tolist() == [0.75, 0.75]


def moved(optimizer):
    """Returns how far a step with gradients of one moves the first parameter."""
    before = float(optimizer.params["w"][0])
    optimizer.step({"w": jnp.ones(2)})
    return before - float(optimizer.params["w"][0])


def test_a_group_can_be_assigned_as_a_dict():
    optimizer = optim.SGD(ONE, lr=0.5)
    optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.25}
    assert moved(optimizer) == 0.25
    optimizer.param_groups[0] = {"lr": 0.125}
    assert moved(optimizer) == 0.125


@pytest.mark.parametrize(
    "act",
    [
        lambda groups: groups.reverse(),
        lambda groups: groups.pop(),
        lambda groups: groups.append({"params": ONE}),
        lambda groups: groups.extend([]),
        lambda groups: groups.insert(0, {}),
        lambda groups: groups.remove(groups[0]),
        lambda groups: groups.clear(),
        lambda groups: groups.sort(key=id),
        lambda groups: groups.__delitem__(0),
        lambda groups: groups.__setitem__(slice(None), []),
        lambda groups: groups.__setitem__(0, "lr"),
        lambda groups: groups.__iadd__([{}]),
        lambda groups: groups.__imul__(2),
    ],
)
def test_the_list_of_groups_cannot_be_changed(act):
    optimizer = optim.SGD([{"params": jnp.ones(1)}, {"params": jnp.zeros(1)}], lr=0.5)
    with pytest.raises(TypeError, match="groups cannot be removed, replaced or reordered"):
        act(optimizer.param_groups)
    assert len(optimizer.param_groups) == 2
    optimizer.step([jnp.ones(1), jnp.ones(1)])
    assert [p.tolist() for p in optimizer.params] == [[0.5], [-0.5]]


def test_changing_the_returned_state_does_not_change_the_optimizer():
    optimizer = optim.SGD(ONE, lr=0.5, momentum=0.9)
    with pytest.raises((TypeError, AttributeError)):
        optimizer.state.clear()
    assert moved(optimizer) == 0.5


SIGN = fo.GradientTransformation(lambda params: (), lambda g, state, params: (g, state))
"""A transformation of another library, whose state has no hyperparameters."""


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (optim.SGD, "learning_rate"),
        (optim.SGD, "weight_decy"),
        (lambda p: optim.Optimizer(p, fo.adamw(0.1)), "lr"),
        (lambda p: optim.Optimizer(p, SIGN), "lr"),
    ],
    ids=["other", "misspelt", "wrapped", "foreign"],
)
def test_an_option_without_effect_cannot_be_set(make, key):
    optimizer = make(ONE)
    with pytest.raises(ValueError, match=f"group 0 has the unknown option {key!r}"):
        optimizer.param_groups[0][key] = 0.0
    with pytest.raises(ValueError, match="unknown option"):
        optimizer.add_param_group({"params": jnp.ones(1), key: 0.0})


def test_a_refused_update_changes_nothing():
    optimizer = optim.SGD(ONE, lr=0.5)
    for wrong in ({"lr": 0.25, "weight_decy": 0.1}, {"lr": 0.25, "params": {"w": jnp.ones(2)}}):
        with pytest.raises((TypeError, ValueError)):
            optimizer.param_groups[0].update(wrong)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert moved(optimizer) == 0.5


def test_values_cannot_be_edited_in_place():
    betas, lr = [0.5, 0.75], np.array(0.5)
    optimizer = optim.Adam([{"params": ONE, "betas": betas, "lr": lr}])
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)
    betas[0], lr[...] = 0.0, 7.0
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.param_groups[0]["lr"][...] = 7.0
    optimizer.step([{"w": jnp.ones(2)}])
    np.testing.assert_allclose(optimizer.params[0]["w"], [0.5, 0.5], rtol=1e-6)


def test_keys_of_the_user_can_be_deleted():
    optimizer = optim.SGD(ONE, lr=0.5)
    optim.lr_scheduler.StepLR(optimizer, 2)
    group = optimizer.param_groups[0]
    assert group.pop("initial_lr") == 0.5
    assert group.pop("initial_lr", None) is None
    group["max_momentum"] = 0.95
    del group["max_momentum"]
    assert not {"initial_lr", "max_momentum"} & group.keys()


def test_a_group_with_the_keys_of_a_scheduler_can_be_added():
    optimizer = optim.SGD(ONE, lr=0.5)
    optim.lr_scheduler.StepLR(optimizer, 2)
    given = {**optimizer.param_groups[0], "params": {"v": jnp.ones(1)}, "max_momentum": 0.95}
    optimizer.add_param_group(given)
    assert optimizer.param_groups[1]["initial_lr"] == 0.5


def test_momentum_may_be_edited_to_zero_with_nesterov():
    optimizer = optim.SGD(ONE, lr=0.5, momentum=0.9, nesterov=True)
    optimizer.param_groups[0]["momentum"] = 0.0
    assert moved(optimizer) == 0.5


def test_differentiable_is_for_all_groups():
    optimizer = optim.SGD(ONE, lr=0.5)
    optimizer.param_groups[0]["differentiable"] = True
    with pytest.raises(ValueError, match="differentiable is False for the optimizer"):
        optimizer.step({"w": jnp.ones(2)})


def sgd(group):
    return optim.SGD([group])


def adamw(group):
    return optim.AdamW([group])


def functional(group):
    return optim.Optimizer([group], fo.adamw(0.1))


@pytest.mark.parametrize(
    ("make", "key", "meant"),
    [
        *(
            (make, key, "lr")
            for make in (sgd, adamw)
            for key in ("Lr", "LR", "learningRate", "eta")
        ),
        *((functional, key, "learning_rate") for key in ("lr", "Lr", "LearningRate", "step_size")),
        *(
            (make, k, "weight_decay")
            for make in (sgd, adamw, functional)
            for k in ("wd", "WD", "l2")
        ),
        *((adamw, key, "betas") for key in ("beta", "beta1", "b2", "Betas", "mom")),
        *((functional, key, "b1") for key in ("betas", "beta1", "B1")),
        *((sgd, key, "momentum") for key in ("beta", "mom", "Momentum", "b1")),
        *((make, key, "eps") for make in (adamw, functional) for key in ("epsilon", "Eps")),
    ],
)
def test_other_names_of_an_option_are_refused(make, key, meant):
    with pytest.raises(ValueError, match=f"group 0 has the unknown option '{key}'. .*'{meant}'"):
        make({"params": jnp.ones(1), key: 0.1})
    optimizer = make({"params": jnp.ones(1)})
    with pytest.raises(ValueError, match=f"unknown option '{key}'. .*'{meant}'"):
        optimizer.param_groups[0][key] = 0.1


@pytest.mark.parametrize("key", ["tag", "decay", "layer", "max_norm", "rate_scale", "names"])
@pytest.mark.parametrize("make", [sgd, adamw, functional])
def test_other_keys_belong_to_the_user(make, key):
    optimizer = make({"params": jnp.ones(1), key: 0.1})
    assert optimizer.param_groups[0][key] == 0.1


def test_a_missing_option_is_refused_under_each_of_its_names():
    for key in ("wd", "WD"):
        with pytest.raises(ValueError, match=f"unknown option '{key}'. Its options are: .*etas"):
            optim.Rprop([{"params": jnp.ones(1), key: 0.1}])
