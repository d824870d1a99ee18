"""Parameter groups: how they are given, and the structure that params keeps."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

from ..trees import assert_close, assert_same
from .makers import grads, quadratic


def model():
    return {
        "base": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "head": {"kernel": jnp.ones((3, 1)), "bias": jnp.ones(1)},
    }


def ones_like(tree):
    return jax.tree.map(jnp.ones_like, tree)


@pytest.mark.parametrize(
    "params",
    [
        {"a": {"b": np.ones(2, np.float32)}},
        [jnp.ones(2), (jnp.ones(()), {"c": jnp.ones(1)})],
        (jnp.ones(2),),
        collections.OrderedDict(z=jnp.ones(2), a=jnp.ones(1)),
        {"a": jnp.ones(2), "frozen": None},
    ],
    ids=["dict", "list", "tuple", "ordered", "none"],
)
def test_params_keeps_the_structure_of_one_tree(params):
    optimizer = optim.SGD(params, lr=0.5)
    assert jax.tree.structure(optimizer.params) == jax.tree.structure(params)
    optimizer.step(ones_like(params))
    assert_same(optimizer.params, jax.tree.map(lambda p: p - 0.5, params))
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("params", "grads", "moved"),
    [
        ([2.0, 3.0], (1.0, None), [1, 0]),
        ((2.0, 3.0), [1.0, None], [1, 0]),
        ({"a": [2.0, 3.0]}, {"a": (1.0, None)}, [1, 0]),
        ({"a": {"b": (2.0, 3.0)}}, {"a": {"b": [1.0, 1.0]}}, [1, 1]),
        ([[2.0, 3.0], [4.0]], ((1.0, None), None), [1, 0, 0]),
        ([{"params": [2.0, 3.0]}, {"params": [4.0]}], ((1.0, 1.0), (None,)), [1, 1, 0]),
        ([{"params": {"w": (2.0, 3.0)}}, {"params": [4.0]}], ({"w": [1.0, None]}, None), [1, 0, 0]),
        ([("w", (2.0, 3.0)), ("b", 4.0)], {"b": 2.0, "w": [1.0, None]}, [1, 0, 2]),
    ],
)
def test_gradients_in_a_tuple_are_those_in_a_list(params, grads, moved):
    optimizer = optim.SGD(params, lr=1.0)
    before = jax.tree.leaves(optimizer.copy_params())
    optimizer.step(jax.tree.map(jnp.asarray, grads))
    after = jax.tree.leaves(optimizer.params)
    assert [float(a - b) for a, b in zip(before, after, strict=True)] == moved


def test_params_is_the_list_of_the_groups_trees():
    params = model()
    optimizer = optim.SGD(
        [{"params": params["base"]}, {"params": params["head"], "lr": 0.25}], lr=0.5
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    assert jax.tree.structure(optimizer.params) == jax.tree.structure([*params.values()])
    optimizer.step(ones_like(optimizer.params))
    base, head = optimizer.params
    assert_same(base, jax.tree.map(lambda p: p - 0.5, params["base"]))
    assert_same(head, jax.tree.map(lambda p: p - 0.25, params["head"]))
    assert optimizer.param_groups[1]["params"] is not params["head"]


def test_one_group_in_a_list_stays_a_list():
    optimizer = optim.SGD([{"params": model(), "lr": 0.25}])
    assert jax.tree.structure(optimizer.params) == jax.tree.structure([model()])


def test_path_groups_keep_the_tree():
    groups = optim.path_groups(
        model(), {r"bias$": {"weight_decay": 0.0}, r"^head": {"lr": 0.25, "weight_decay": 1.0}}
    )
    optimizer = optim.SGD(groups, lr=0.5, weight_decay=2.0)
    options = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert options == [(0.5, 0.0), (0.25, 1.0), (0.5, 2.0)]
    assert jax.tree.structure(optimizer.params) == jax.tree.structure(model())
    optimizer.step(ones_like(model()))
    assert_same(
        optimizer.params,
        {
            "base": {"kernel": jnp.full((2, 3), -0.5), "bias": jnp.full(3, 0.5)},
            "head": {"kernel": jnp.full((3, 1), 0.5), "bias": jnp.full(1, 0.5)},
        },
    )


def test_path_groups_without_rest_have_a_group_for_each_rule():
    rules = [(r"bias$", {"lr": 1.0}), (lambda path, leaf: leaf.ndim == 2, {"lr": 2.0})]
    optimizer = optim.SGD(optim.path_groups(model(), rules))
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 2.0]


def test_a_rule_that_matches_no_leaf_is_refused():
    text = r"^path_groups: the rule 'scale\$' matches no parameter.*base\.bias"
    with pytest.raises(ValueError, match=text):
        optim.SGD(optim.path_groups(model(), {"scale$": {}}))


def test_path_groups_train_as_groups_do():
    params = model()
    by_path = optim.Adam(optim.path_groups(params, {r"^head": {"lr": 0.5}}), lr=0.1)
    by_dict = optim.Adam(
        [{"params": params["head"], "lr": 0.5}, {"params": params["base"]}], lr=0.1
    )
    for seed in range(3):
        g = jax.tree.map(lambda p, s=seed: jnp.cos(p + s), params)
        by_path.step(g)
        by_dict.step([g["head"], g["base"]])
    head, base = by_dict.params
    assert_same(by_path.params, {"base": base, "head": head})


def test_dicts_and_arrays_that_were_passed_do_not_change():
    given = [{"params": {"w": jnp.ones(2)}, "lr": 0.5}, {"params": {"w": np.ones(3, np.float32)}}]
    before = [dict(group) for group in given]
    optimizer = optim.Adam(given, lr=0.1)
    optimizer.step([{"w": jnp.ones(2)}, {"w": jnp.ones(3)}])
    optimizer.param_groups[0]["lr"] = 7.0
    optim.lr_scheduler.StepLR(optimizer, 1)
    for group, old in zip(given, before, strict=True):
        assert group.keys() == old.keys()
        assert all(group[k] is old[k] for k in group)
    assert given[1]["params"]["w"].tolist() == [1.0, 1.0, 1.0]
    assert optim.Adam(given, lr=0.3).param_groups[1]["lr"] == 0.3


def test_add_param_group_appends_a_tree_with_the_defaults():
    optimizer = optim.Adam({"w": jnp.ones(2)}, lr=0.1)
    optimizer.step({"w": jnp.ones(2)})
    optimizer.add_param_group({"params": {"v": jnp.ones(3)}, "betas": (0.5, 0.9)})
    assert jax.tree.structure(optimizer.params) == jax.tree.structure([{"w": 0}, {"v": 0}])
    added = optimizer.param_groups[1]
    assert (added["lr"], added["betas"], added["eps"]) == (0.1, (0.5, 0.9), 1e-8)
    optimizer.step([{"w": jnp.ones(2)}, {"v": jnp.ones(3)}])
    state = optimizer.state_dict()["state"]
    assert [float(state[i]["step"]) for i in (0, 1)] == [2.0, 1.0]
    assert_close(optimizer.params, [{"w": jnp.full(2, 0.8)}, {"v": jnp.full(3, 0.9)}], rtol=1e-6)


def test_a_group_added_to_path_groups_leaves_their_tree_whole():
    optimizer = optim.SGD(optim.path_groups(model(), {r"bias$": {"lr": 0.25}}), lr=0.5)
    optimizer.add_param_group({"params": jnp.ones(2), "lr": 1.0})
    tree, added = optimizer.params
    assert jax.tree.structure(tree) == jax.tree.structure(model())
    optimizer.step([ones_like(tree), jnp.ones(2)])
    tree, added = optimizer.params
    assert tree["base"]["bias"].tolist() == [0.75] * 3
    assert tree["head"]["kernel"].tolist() == [[0.5]] * 3
    assert added.tolist() == [0.0, 0.0]


def test_a_group_added_between_backward_and_step_has_no_gradient_yet():
    optimizer = optim.SGD({"w": jnp.ones(2)}, lr=0.5)
    optimizer.backward(quadratic, 0.0)
    optimizer.add_param_group({"params": {"v": jnp.ones(3)}})
    optimizer.step()
    assert_same(optimizer.params, [{"w": jnp.full(2, 0.5)}, {"v": jnp.ones(3)}])


def test_params_can_be_assigned():
    params = grads(0)
    optimizer = optim.SGD(params, lr=0.5, momentum=0.9)
    optimizer.step(ones_like(params))
    new = jax.tree.map(lambda p: np.asarray(p) * 0, params)
    optimizer.params = new
    assert_same(optimizer.params, new)
    optimizer.step(jax.tree.map(jnp.zeros_like, params))
    assert_close(optimizer.params, jax.tree.map(lambda p: p - 0.45, new), rtol=1e-6)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"w": jnp.ones(3)}, r"'w' has shape \(3,\), and the old one \(2,\)"),
        ({"v": jnp.ones(2)}, "no leaf at 'w'"),
        ({"w": 1.0}, r"'w' has shape \(\)"),
    ],
    ids=["shape", "name", "number"],
)
def test_params_of_another_structure_cannot_be_assigned(new, message):
    optimizer = optim.SGD({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=message):
        optimizer.params = new
    assert_same(optimizer.params, {"w": jnp.ones(2)})


def test_repr_shows_the_groups_without_their_arrays():
    optimizer = optim.SGD(
        [{"params": {"w": jnp.ones(2)}, "lr": 0.25}, {"params": {"v": jnp.ones(1)}}]
    )
    text = repr(optimizer)
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert "    lr: 0.25\n" in text
    assert "Parameter Group 1\n" in text
    assert "params" not in text
    assert "Array" not in text


@pytest.mark.parametrize(
    ("rules", "kind", "message"),
    [
        ({"(": {}}, ValueError, r"path_groups: '\(' is not a regular expression: missing \)"),
        ([{"w$": {}}], TypeError, "path_groups: rules must be a mapping .* list of such pairs"),
        ({"w$": 0.1}, TypeError, r"path_groups: rules .*got \{'w\$': 0\.1\}"),
    ],
)
def test_invalid_rules_are_refused(rules, kind, message):
    with pytest.raises(kind, match=message):
        optim.path_groups({"w": jnp.ones(1)}, rules)
