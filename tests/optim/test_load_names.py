"""Which saved entry is whose: by name over all groups; by position where the order is plain."""

import collections
import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim

from ..trees import assert_same


def tree(*names):
    """Returns parameters that differ only in their names."""
    return {k: jnp.ones(3) for k in names}


def gradients(*names):
    """Returns a different gradient for each name."""
    return {k: (1.0 + ord(k) - ord("a")) * jnp.ones(3) for k in names}


def buffers(optimizer):
    """Returns the first number of each momentum buffer."""
    found = [link.trace.trace for link in optimizer.state]
    return [{k: float(x[0]) for k, x in tree.items() if hasattr(x, "dtype")} for tree in found]


def sgd(params, **options):
    return optim.SGD(params, momentum=0.9, **options)


def saved(*names, groups=None):
    """Returns the state_dict that torch writes for parameters defined in the order of `names`."""
    state = {i: {"momentum_buffer": gradients(k)[k]} for i, k in enumerate(names)}
    numbers = groups or [list(range(len(names)))]
    return {"state": state, "param_groups": [{"lr": 0.5, "params": ks} for ks in numbers]}


def test_parameters_in_another_order_are_matched_by_name():
    def ordered(names):
        return collections.OrderedDict((k, jnp.ones(3)) for k in names)

    optimizer = optim.SGD(ordered("abc"), momentum=0.9)
    optimizer.step(collections.OrderedDict(a=jnp.ones(3), b=2 * jnp.ones(3), c=3 * jnp.ones(3)))
    other = optim.SGD(ordered("cab"), momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    buffers = other.state[0].trace.trace
    assert {k: float(x[0]) for k, x in buffers.items()} == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_state_without_names_is_matched_by_position():
    optimizer = optim.SGD({"a": jnp.ones(3), "b": jnp.ones(3)}, momentum=0.9)
    optimizer.step({"a": jnp.ones(3), "b": 2 * jnp.ones(3)})
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["param_names"]
    other = optim.SGD([jnp.ones(3), jnp.ones(3)], momentum=0.9)
    other.load_state_dict(saved)
    assert [float(x[0]) for x in other.state[0].trace.trace] == [1.0, 2.0]


def test_a_file_of_torch_without_names_is_not_guessed_at():
    optimizer = sgd(tree("q", "k"))
    with pytest.raises(ValueError, match=r"alphabetic order\. Pass .*names=\[\.\.\.\]"):
        optimizer.load_state_dict(saved("q", "k"))
    assert buffers(optimizer) == [{"k": 0.0, "q": 0.0}]


def test_a_file_of_torch_is_read_with_the_names_of_its_order():
    optimizer = sgd(tree("q", "k"), lr=0.1)
    optimizer.load_state_dict(saved("q", "k"), names=["q", "k"])
    assert buffers(optimizer) == [{"k": 11.0, "q": 17.0}]
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("params", [[jnp.ones(3), jnp.ones(3)], (jnp.ones(3), None, jnp.ones(3))])
def test_a_flat_list_has_the_order_of_torch(params):
    optimizer = sgd(params)
    optimizer.load_state_dict(saved("q", "k"))
    assert [float(x[0]) for x in optimizer.state[0].trace.trace if x is not None] == [17.0, 11.0]


def test_one_parameter_needs_no_name():
    optimizer = sgd({"deep": {"only": jnp.ones(3)}})
    optimizer.load_state_dict(saved("c"))
    assert float(optimizer.state[0].trace.trace["deep"]["only"][0]) == 3.0


def test_a_file_without_state_needs_no_names_and_starts_from_zero():
    optimizer = sgd(tree("q", "k"), lr=0.1)
    optimizer.step(gradients("q", "k"))
    optimizer.load_state_dict({"state": {}, "param_groups": saved("q", "k")["param_groups"]})
    assert optimizer.state_dict()["state"] == {}
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["q"], "the file has 2 parameters, and 1 different names"),
        (["q", "k", "v"], "2 parameters, and 3 different names"),
        (["q", "q"], "2 parameters, and 1 different names of 2"),
        (["q", "w"], r"only on one side are k, w\. Pass names"),
    ],
)
def test_names_must_be_those_of_the_parameters(names, message):
    with pytest.raises(ValueError, match=message):
        sgd(tree("q", "k")).load_state_dict(saved("q", "k"), names=names)


LEFT = r"SGD\.load_state_dict: options were not loaded"


def test_parameters_may_have_been_in_other_groups():
    first = sgd([{"params": tree("a", "b", "c"), "lr": 0.5}])
    first.step([gradients("a", "b", "c")])
    second = sgd([{"params": tree("c"), "lr": 0.1}, {"params": tree("a", "b"), "lr": 0.2}])
    with pytest.warns(UserWarning, match=LEFT) as given:
        second.load_state_dict(first.state_dict())
    assert given[0].filename == __file__
    expected = "group 0: lr 0.1 here, 0.5 in the file; group 1: lr 0.2 here, 0.5 in the file. As"
    assert expected in str(given[0].message)
    assert buffers(second) == [{"c": 3.0}, {"a": 1.0, "b": 2.0}]
    assert [group["lr"] for group in second.param_groups] == [0.1, 0.2]
    one = sgd(tree("a", "b", "c"), lr=0.7)
    with pytest.warns(UserWarning, match=rf"{LEFT}.* lr 0\.7 here, 0\.1 and 0\.2 in the file\."):
        one.load_state_dict(second.state_dict())
    assert buffers(one) == [{"a": 1.0, "b": 2.0, "c": 3.0}]
    assert one.param_groups[0]["lr"] == 0.7


def test_groups_may_be_in_another_order():
    first = sgd([{"params": tree("a"), "lr": 0.1}, {"params": tree("b"), "lr": 0.2}])
    first.step([gradients("a"), gradients("b")])
    second = sgd([{"params": tree("b")}, {"params": tree("a")}])
    second.load_state_dict(first.state_dict())
    assert buffers(second) == [{"b": 2.0}, {"a": 1.0}]
    assert [group["lr"] for group in second.param_groups] == [0.2, 0.1]


def test_groups_of_equal_names_are_distinguished_by_their_numbers():
    optimizer = sgd([{"params": tree("a", "b")}, {"params": tree("a")}])
    optimizer.step([gradients("a", "b"), {"a": jnp.full(3, 7.0)}])
    written = optimizer.state_dict()
    names = [group["param_names"] for group in written["param_groups"]]
    assert names == [["0.a", "b"], ["1.a"]]
    other = sgd([{"params": tree("a", "b")}, {"params": tree("a")}])
    other.load_state_dict(written)
    assert buffers(other) == [{"a": 1.0, "b": 2.0}, {"a": 7.0}]


@pytest.mark.parametrize(
    "trees",
    [
        [{"w": 1.0}, {"w": 2.0}, {"0": {"w": 3.0}}],
        [{"a.b": 1.0, "a": {"b": 2.0}}, {"c": 3.0}],
    ],
    ids=["group in front", "dots"],
)
def test_names_never_collide(trees):
    def make():
        return optim.SGD([{"params": jax.tree.map(jnp.asarray, tree)} for tree in trees], 0.1, 0.9)

    optimizer, other = make(), make()
    optimizer.step(optimizer.params)
    saved = optimizer.state_dict()
    names = [name for group in saved["param_groups"] for name in group["param_names"]]
    assert len(set(names)) == 3
    other.load_state_dict(saved)
    assert_same(other.state, optimizer.state)


def test_a_tree_given_as_a_group_has_the_same_names():
    first = sgd(tree("a", "b"))
    first.step(gradients("a", "b"))
    second = sgd([{"params": tree("a", "b")}])
    second.load_state_dict(first.state_dict())
    assert buffers(second) == [{"a": 1.0, "b": 2.0}]


def test_rules_on_paths_may_have_changed():
    first = sgd(optim.path_groups(tree("a", "b", "c"), {"a|b": {"lr": 0.5}}))
    first.step(gradients("a", "b", "c"))
    second = sgd(optim.path_groups(tree("a", "b", "c"), {"c": {"lr": 0.2}, "b": {"lr": 0.1}}))
    with pytest.warns(UserWarning, match=rf"{LEFT}.* group 1: .* group 2: lr 0\.001 here"):
        second.load_state_dict(first.state_dict())
    found = {k: x for state in buffers(second) for k, x in state.items()}
    assert found == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert [group["lr"] for group in second.param_groups] == [0.001, 0.1, 0.001]


@pytest.mark.parametrize("through", [lambda x: x, lambda x: json.loads(json.dumps(x))])
def test_equal_options_and_those_without_effect_do_not_warn(through):
    def make(*names, **options):
        groups = [{"params": tree(*own)} for own in names]
        return optim.Adam(groups, betas=(0.5, 0.75), lr=0.5, **options)

    second = make("b", "a")
    second.load_state_dict(through(make("ab", foreach=True).state_dict()))
    assert [group["foreach"] for group in second.param_groups] == [None, None]


WEIGHTS_AND_BIASES = {
    "state": {i: {"momentum_buffer": np.full(2, float(i))} for i in range(4)},
    "param_groups": [
        {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.1, "params": [0, 1]},
        {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.0, "params": [2, 3]},
    ],
}
"""Of torch, whose optimizer had a group of weights and one of biases, all of one shape."""

LAYER_BY_LAYER = ["a.w", "a.b", "z.w", "z.b"]
BY_GROUP = [["a.w", "z.w"], ["a.b", "z.b"]]
LAYERS = {k: {"w": jnp.ones(2), "b": jnp.ones(2)} for k in "az"}


def loaded(params, names):
    opt = optim.SGD(params, momentum=0.1)
    opt.load_state_dict(WEIGHTS_AND_BIASES, names=names)
    saved = opt.state_dict()
    return {
        name: (float(saved["state"][k]["momentum_buffer"][0]), group["weight_decay"])
        for group in saved["param_groups"]
        for k, name in zip(group["params"], group["param_names"], strict=True)
    }


RIGHT = {"a.w": (0.0, 0.1), "z.w": (1.0, 0.1), "a.b": (2.0, 0.0), "z.b": (3.0, 0.0)}


def test_names_of_each_group():
    groups = optim.path_groups(LAYERS, {"w$": {"weight_decay": 0.7}})
    assert loaded(groups, BY_GROUP) == RIGHT
    assert loaded(groups, [name for names in BY_GROUP for name in names]) == RIGHT


@pytest.mark.filterwarnings("ignore:SGD.load_state_dict. options were not loaded")
def test_names_by_group_are_loaded_into_a_single_group():
    assert loaded(LAYERS, BY_GROUP) == {k: (number, 0) for k, (number, _) in RIGHT.items()}


@pytest.mark.parametrize(
    ("grouped", "names", "text"),
    [
        (
            True,
            LAYER_BY_LAYER,
            r"names puts a\.b, a\.w into group 0, and this optimizer does not have",
        ),
        (False, LAYER_BY_LAYER, r"names puts a\.b, a\.w into group 0"),
        (
            False,
            [name for names in BY_GROUP for name in names],
            "this optimizer does not have such a group",
        ),
        (True, [["a.w", "z.w", "a.b"], ["z.b"]], r"groups of \[2, 2\] .* \[3, 1\] names"),
        (True, [["a.w", "z.w"]], r"groups of \[2, 2\] .* \[2\] names"),
        (True, [["a.w", "z.w"], ["a.b", "a.b"]], "3 different names"),
    ],
)
def test_names_that_tear_groups_apart_are_refused(grouped, names, text):
    groups = optim.path_groups(LAYERS, {"w$": {"weight_decay": 0.7}}) if grouped else LAYERS
    with pytest.raises(ValueError, match=rf"SGD\.load_state_dict: .*{text}.*Nothing was loaded"):
        loaded(groups, names)


@pytest.mark.parametrize(("name", "shape", "warns"), [
    ("kernel", (2, 2), True),
    ("kernel", (2, 3), False),
    ("weight", (2, 2), False),
])  # fmt: skip
def test_moments_of_a_square_kernel_of_torch_are_warned_of(name, shape, warns, recwarn):
    params = {"fc": {name: jnp.ones(shape)}}
    entry = {"momentum_buffer": np.ones(shape)}
    groups = [{"params": [0], "momentum": 0.9}]
    opt = optim.SGD(params, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        opt.load_state_dict({"state": {0: entry}, "param_groups": groups}, names=[f"fc.{name}"])
        opt.load_state_dict(opt.state_dict())
    texts = [str(w.message) for w in recwarn]
    assert len(texts) == warns
    assert all("moments of fc.kernel" in t and "import_model" in t for t in texts)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sharpness": 0.1, "tag": "x"}, r"group 0: sharpness=0\.1, tag='x'\."),
        ({"ascend": True}, "group 0: ascend=True"),
        ({"ascend": False, "rate": None, "foreach": True, "initial_lr": 0.1}, None),
        ({"lr": 0.1, "maximize": True}, None),
        ({"ascend": True, "_count": 1}, None),
    ],
)
def test_options_of_another_torch_are_warned_of(options, text):
    state = {"state": {}, "param_groups": [{"params": [0], **options}]}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        optim.SGD([jnp.ones(1)]).load_state_dict(state)
    assert len(found) == (text is not None)
    assert not found or re.search(f"not known here.*{text}", str(found[0].message))
