"""Parameters that are given with names, and arrays that are given twice."""

import collections
import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from ..trees import assert_same


def pairs():
    return [("z.weight", jnp.ones(2)), ("a.bias", jnp.zeros(1)), ("m", {"x": jnp.ones(3)})]


def test_pairs_become_a_dict_in_their_order():
    optimizer = optim.SGD(pairs(), lr=0.5, momentum=0.9)
    assert isinstance(optimizer.params, collections.OrderedDict)
    assert list(optimizer.params) == ["z.weight", "a.bias", "m"]
    assert optimizer.param_groups[0]["param_names"] == ["z.weight", "a.bias", "m"]
    optimizer.minimize(lambda params: params["z.weight"].sum() - params["m"]["x"].sum())
    assert optimizer.params["z.weight"].tolist() == [0.5, 0.5]
    assert optimizer.params["m"]["x"].tolist() == [1.5, 1.5, 1.5]
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["z.weight", "a.bias", "m.x"]
    assert [saved["state"][i]["momentum_buffer"].size for i in range(3)] == [2, 1, 3]


def test_a_wrapped_transformation_takes_pairs():
    optimizer = optim.Optimizer(pairs(), fo.sgd(0.5))
    optimizer.minimize(lambda params: params["z.weight"].sum())
    assert list(optimizer.params) == ["z.weight", "a.bias", "m"]
    assert optimizer.params["z.weight"].tolist() == [0.5, 0.5]


GROUPS = {
    "pairs": [{"params": pairs()[:2]}, {"params": pairs()[2:], "lr": 0.25}],
    "beside": [
        {"params": [x for _, x in pairs()[:2]], "param_names": ["z.weight", "a.bias"]},
        {"params": (pairs()[2][1],), "param_names": ("m",), "lr": 0.25},
    ],
    "again": optim.SGD(
        [{"params": pairs()[:2]}, {"params": pairs()[2:], "lr": 0.25}], lr=0.5
    ).param_groups,
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_groups_may_be_named(groups):
    groups = [dict(group) for group in groups]
    given = [dict(group) for group in groups]
    optimizer = optim.SGD(groups, lr=0.5)
    assert [list(params) for params in optimizer.params] == [["z.weight", "a.bias"], ["m"]]
    assert [g["param_names"] for g in optimizer.param_groups] == [["z.weight", "a.bias"], ["m"]]
    assert [list(group) for group in groups] == [list(group) for group in given]
    assert all(a[k] is b[k] for a, b in zip(groups, given, strict=True) for k in a)
    optimizer.add_param_group({"params": [("last", jnp.ones(1))]})
    optimizer.step(jax.tree.map(jnp.ones_like, optimizer.params))
    assert_same(
        optimizer.params,
        [
            collections.OrderedDict(
                [("z.weight", jnp.array([0.5, 0.5])), ("a.bias", jnp.array([-0.5]))]
            ),
            collections.OrderedDict(m={"x": jnp.full(3, 0.75)}),
            collections.OrderedDict(last=jnp.array([0.5])),
        ],
    )


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_names_are_copied(way):
    optimizer = way(optim.SGD(pairs(), lr=0.5))
    assert optimizer.param_groups[0]["param_names"] == ["z.weight", "a.bias", "m"]
    assert "param_names: ['z.weight', 'a.bias', 'm']" in repr(optimizer)


def test_names_of_a_file_of_torch_are_found():
    state = {i: {"momentum_buffer": np.full(n, i, np.float32)} for i, n in enumerate([1, 2, 3])}
    group = {"lr": 0.5, "params": [0, 1, 2], "param_names": ["a.bias", "z.weight", "m.x"]}
    optimizer = optim.SGD(pairs(), momentum=0.9)
    optimizer.load_state_dict({"state": state, "param_groups": [group]})
    buffers = optimizer.state[0].trace.trace
    assert [float(x[0]) for x in jax.tree.leaves(buffers)] == [1.0, 0.0, 2.0]
    assert optimizer.param_groups[0]["param_names"] == ["z.weight", "a.bias", "m"]


NAMED, UNNAMED = {"params": [("w", jnp.ones(1))]}, {"params": [jnp.ones(1)]}


@pytest.mark.parametrize(
    ("first", "second", "out"), [(NAMED, UNNAMED, "out"), (UNNAMED, NAMED, "")]
)
def test_all_groups_have_names_or_none(first, second, out):
    message = f"groups should be with/without names. cannot add param group with{out} names to the"
    with pytest.raises(ValueError, match=message):
        optim.SGD([first, second])
    optimizer = optim.SGD([first])
    with pytest.raises(ValueError, match=f"SGD: group 1: .*{message}"):
        optimizer.add_param_group(second)
    assert len(optimizer.param_groups) == 1


def test_names_that_are_not_those_of_the_tree_are_refused():
    with pytest.raises(ValueError, match=r"param_names are \['v'\], and the parameters \['w'\]"):
        optim.SGD([{"params": {"w": jnp.ones(1)}, "param_names": ["v"]}])


@pytest.mark.parametrize("kind", [jnp.ones, np.ones])
def test_an_array_in_two_groups_is_refused(kind):
    w = kind(2, np.float32)
    message = "some parameters appear in more than one parameter group: the array at 'v'"
    with pytest.raises(ValueError, match=message):
        optim.SGD([{"params": {"w": w}}, {"params": {"v": w}}])
    optimizer = optim.SGD({"w": w})
    for same in (w, optimizer.params["w"]):
        with pytest.raises(ValueError, match=f"SGD: group 1: {message}"):
            optimizer.add_param_group({"params": {"v": same}})
    optimizer.step({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": {"v": w}})
    optimizer.add_param_group({"params": {"v": w.copy()}})
    assert len(optimizer.param_groups) == 2


def test_an_array_of_a_refused_group_can_be_passed_again():
    optimizer, w = optim.SGD({"w": jnp.ones(1)}), jnp.ones(2)
    with pytest.raises(ValueError, match="lr must be"):
        optimizer.add_param_group({"params": {"v": w}, "lr": -1.0})
    optimizer.add_param_group({"params": {"v": w}})
    assert len(optimizer.param_groups) == 2


def test_arrays_that_were_passed_are_not_kept_alive():
    optimizer, w = optim.SGD({"w": jnp.ones(1)}), np.ones(2, np.float32)
    for _ in range(3):
        optimizer.add_param_group({"params": {"v": w.copy()}})
    assert len(optimizer.param_groups) == 4


def test_the_warning_of_duplicates_is_at_the_users_line():
    w = jnp.ones(2)
    optimizer = optim.SGD([jnp.ones(1)])
    with pytest.warns(UserWarning, match="group with duplicate parameters") as found:
        optimizer.add_param_group({"params": [w, w]})
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize("of", [lambda pair: pair, lambda pair: [pair]], ids=["one", "groups"])
def test_gradients_may_be_a_plain_dict_by_name(of):
    """Parameters are in the order of the names, which is not that of the alphabet."""
    pairs = [("b", jnp.zeros(2)), ("a", jnp.zeros(2))]
    optimizer = optim.SGD([{"params": pairs}] if of(0) == [0] else pairs, lr=1.0)
    optimizer.step(of({"a": jnp.full(2, 1.0), "b": jnp.full(2, 2.0)}))
    optimizer.step(of({"a": None, "b": jnp.full(2, 2.0)}))
    named = optimizer.params[0] if of(0) == [0] else optimizer.params
    assert {k: x.tolist() for k, x in named.items()} == {"b": [-4.0, -4.0], "a": [-1.0, -1.0]}
    assert list(named) == ["b", "a"]


@pytest.mark.parametrize("names", ["a", "abc"])
def test_a_plain_dict_of_other_names_is_refused(names):
    optimizer = optim.SGD([("b", jnp.zeros(2)), ("a", jnp.zeros(2))])
    with pytest.raises(ValueError, match=r"leaf at 'b'|leaf at 'c'"):
        optimizer.step({k: jnp.ones(2) for k in names})
