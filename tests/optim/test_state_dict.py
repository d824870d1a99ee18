"""state_dict and back: plain data in torch's format, and a run that continues bit for bit."""

import copy
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim

from .. import problem
from ..trees import assert_same
from .makers import MAKERS, REPRESENTATIVES, each, grads, steps

DTYPES = {
    "float32": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "complex64": jnp.complex64,
    "float64": np.float64,
}


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Provides the dtype of the parameters, with x64 where it needs it."""
    with jax.enable_x64(request.param == "float64"):
        yield DTYPES[request.param]


def continued(make, optimizer, dtype):
    """Makes a new optimizer with the parameters and the state of another."""
    other = make(problem.arrays(dtype, seed=9))
    other.params = optimizer.params
    other.load_state_dict(optimizer.state_dict())
    return other


CONTINUED = [
    pytest.param(name, dtype, id=f"{name}-{dtype}")
    for name in MAKERS
    for dtype in DTYPES
    # That each class continues in float64 is tested in test_golden, from the states of torch.
    if dtype != "float64" or name in REPRESENTATIVES
]


@pytest.mark.parametrize(("name", "dtype"), CONTINUED, indirect=["dtype"])
def test_a_run_continues_bit_for_bit(name, dtype):
    make = MAKERS[name]
    optimizer = make(problem.arrays(dtype))
    # The first two are saved before and after the first step, and the last after more.
    for number in (1, 6, 5):
        other = continued(make, optimizer, dtype)
        assert_same(other.state_dict(), optimizer.state_dict())
        steps(optimizer, range(number), dtype)
        assert_same(steps(other, range(number), dtype), optimizer.params)
        assert_same(other.state_dict(), optimizer.state_dict())


@each
def test_a_long_run_continues_bit_for_bit(make):
    optimizer = make(problem.arrays())
    steps(optimizer, [*range(50)] * 4)
    other = continued(make, optimizer, np.float32)
    for a, b in zip(*(map(slots, x.state) for x in (other, optimizer)), strict=True):
        assert_same(a, b)


def slots(state):
    """Returns all of a state but the counts, some of which torch's format has no place for."""
    return [
        {k: v for k, v in link._asdict().items() if k not in ("count", "leaf_counts")}
        for link in state
    ]


@each
def test_state_and_options_are_plain_data(make):
    optimizer = make(problem.arrays())
    optimizer.param_groups[0].update({"lr": jnp.float32(0.5)} if "lr" in optimizer.defaults else {})
    steps(optimizer, range(2))
    saved = optimizer.state_dict()
    for leaf in jax.tree.leaves(saved):
        assert isinstance(leaf, (np.ndarray, int, float, bool, str)), type(leaf)
    assert_same(pickle.loads(pickle.dumps(saved)), saved)


def test_state_dict_has_the_names_and_numbers_of_torch():
    optimizer = optim.Adam(
        [{"params": {"b": jnp.ones(2), "a": jnp.ones(1)}}, {"params": [jnp.ones(3)]}], amsgrad=True
    )
    optimizer.step([{"b": jnp.ones(2), "a": None}, [jnp.ones(3)]])
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    assert sorted(saved["state"]) == [1, 2]
    names = {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    assert set(saved["state"][1]) == names
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2]]
    assert [group["param_names"] for group in saved["param_groups"]] == [["a", "b"], ["0"]]
    assert saved["param_groups"][0]["betas"] == (0.9, 0.999)


def test_exp_avg_is_the_moment_as_torch_keeps_it():
    optimizer = optim.Adam({"w": jnp.zeros(1)}, betas=(0.75, 0.5))
    for g in (1.0, 3.0):
        optimizer.step({"w": jnp.array([g])})
    entry = optimizer.state_dict()["state"][0]
    np.testing.assert_allclose(entry["exp_avg"], [0.75 * 0.25 * 1 + 0.25 * 3], rtol=1e-6)
    np.testing.assert_allclose(entry["exp_avg_sq"], [0.5 * 0.5 * 1 + 0.5 * 9], rtol=1e-6)


def test_a_state_dict_does_not_change_with_its_optimizer():
    optimizer = MAKERS["Adam"](problem.arrays())
    steps(optimizer, range(2))
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    steps(optimizer, range(3))
    optimizer.param_groups[0]["lr"] = 7.0
    assert_same(saved, kept)


def test_loading_takes_copies():
    optimizer = MAKERS["Adam"](problem.arrays())
    steps(optimizer, range(2))
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    other = continued(MAKERS["Adam"], optimizer, np.float32)
    saved["state"][0]["exp_avg"][:] = 7.0
    saved["param_groups"][0]["lr"] = 7.0
    assert_same(other.state_dict(), kept)
    other.load_state_dict(kept)
    steps(other, range(3))
    assert_same(kept, optimizer.state_dict())


def test_the_saved_options_replace_the_present_ones():
    optimizer = optim.Adam(problem.arrays(), lr=0.5, betas=(0.5, 0.9), eps=1e-3)
    other = optim.Adam(problem.arrays(), lr=0.1, weight_decay=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0].options == optimizer.param_groups[0].options
    assert_same(steps(other, range(3)), steps(optimizer, range(3)))


@pytest.mark.parametrize("with_state", [True, False], ids=["after", "before"])
def test_edited_options_are_restored(with_state):
    first = MAKERS["SGD"](problem.arrays())
    steps(first, range(2 * with_state))
    first.param_groups[0].update(momentum=0.9, lr=0.01)
    steps(first, range(2))
    first.param_groups[0].update(momentum=0.0)
    steps(first, range(2))
    other = continued(MAKERS["SGD"], first, np.float32)
    for optimizer in (first, other):
        optimizer.param_groups[0].update(momentum=0.5)
        steps(optimizer, range(2))
    assert_same(other.params, first.params)


@pytest.mark.parametrize("option", ["amsgrad", "centered"])
def test_slots_of_an_option_that_is_off_are_restored(option):
    cls = optim.Adam if option == "amsgrad" else optim.RMSprop
    first = cls(problem.arrays(), **{option: True})
    steps(first, range(2))
    first.param_groups[0][option] = False
    steps(first, range(2))
    other = continued(cls, first, np.float32)
    for optimizer in (first, other):
        optimizer.param_groups[0][option] = True
        steps(optimizer, range(2))
    assert_same(other.params, first.params)
    assert_same(other.state_dict(), first.state_dict())


def test_moments_are_restored_bit_for_bit_after_an_edit_of_betas():
    first = MAKERS["Adam"](problem.arrays())
    steps(first, range(3))
    first.param_groups[0]["betas"] = (0.5, 0.9)
    other = continued(MAKERS["Adam"], first, np.float32)
    assert_same(steps(other, range(3)), steps(first, range(3)))


def test_arrays_of_a_state_dict_are_copies_that_can_be_written_into():
    optimizer = MAKERS["Adam"](problem.arrays())
    steps(optimizer, range(3))
    for entry in optimizer.state_dict()["state"].values():
        for value in entry.values():
            value[...] = 0
    assert float(optimizer.state_dict()["state"][0]["step"]) == 3.0
    assert jnp.abs(optimizer.state_dict()["state"][0]["exp_avg"]).min() > 0


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Lion])
def test_json_keeps_a_state(cls):
    optimizer = cls(problem.arrays(), lr=0.1)
    steps(optimizer, range(3))
    text = json.dumps(optimizer.state_dict(), default=lambda x: x.tolist())
    other = cls(optimizer.params)
    other.load_state_dict(json.loads(text))
    assert_same(steps(other, range(3)), steps(optimizer, range(3)))


@pytest.mark.parametrize("cls", [optim.Adadelta, optim.Adam, optim.Adafactor, optim.Rprop])
def test_json_keeps_parameters_without_elements(cls):
    """JSON keeps the axes of a shape only up to the first one of size 0."""
    params = {"w": jnp.ones((2, 3)), "none": jnp.zeros((0, 3)), "few": jnp.zeros((3, 0, 2))}
    optimizer = cls(params)
    optimizer.step(params)
    text = json.dumps(optimizer.state_dict(), default=lambda x: x.tolist())
    other = cls(optimizer.params)
    other.load_state_dict(json.loads(text))
    np.testing.assert_equal(other.state_dict(), optimizer.state_dict())
    with pytest.raises(ValueError, match=r"'few': .* has shape \(3, 0\), the parameter \(4, 0, 2"):
        cls({**params, "few": jnp.zeros((4, 0, 2))}).load_state_dict(json.loads(text))


def test_the_count_of_a_schedule_is_restored():
    def make(params):
        return optim.SGD(params, lr=fo.linear_schedule(1.0, 0.0, 10))

    optimizer = make(problem.arrays())
    steps(optimizer, range(4))
    other = continued(make, optimizer, np.float32)
    assert_same(steps(other, range(3)), steps(optimizer, range(3)))


def test_parameters_without_gradients_have_no_entry_after_loading_either():
    def step(optimizer, *present):
        optimizer.step({k: g if k in present else None for k, g in grads(0).items()})

    optimizer = MAKERS["Adam"](problem.arrays())
    step(optimizer, "w")
    step(optimizer, "w")
    other = continued(MAKERS["Adam"], optimizer, np.float32)
    assert sorted(other.state_dict()["state"]) == [1]
    for each_one in (optimizer, other):
        step(each_one, "b", "w")
    assert_same(other.params, optimizer.params)
    assert [float(e["step"]) for e in other.state_dict()["state"].values()] == [1.0, 3.0]


def test_numbers_of_parameters_may_be_strings():
    optimizer = MAKERS["Adam"](problem.arrays())
    steps(optimizer, range(3))
    saved = optimizer.state_dict()
    saved["state"] = {str(k): entry for k, entry in saved["state"].items()}
    other = MAKERS["Adam"](optimizer.params)
    other.load_state_dict(saved)
    assert_same(other.state_dict(), optimizer.state_dict())


def test_states_of_path_groups_are_restored_to_path_groups_of_the_same_rules():
    def make(params):
        return optim.Adam(optim.path_groups(params, {"^b": {"lr": 0.5}}), lr=0.1)

    optimizer = make(problem.arrays())
    steps(optimizer, range(3))
    other = continued(make, optimizer, np.float32)
    assert_same(steps(other, range(3)), steps(optimizer, range(3)))


def test_an_added_group_is_restored():
    def make(params):
        optimizer = optim.Adam({"w": params["w"]}, lr=0.1)
        optimizer.add_param_group({"params": {"b": params["b"]}, "lr": 0.5})
        return optimizer

    def step(optimizer, seed):
        g = grads(seed)
        optimizer.step([{"w": g["w"]}, {"b": g["b"]}])

    optimizer = make(problem.arrays())
    step(optimizer, 0)
    other = continued(make, optimizer, np.float32)
    step(optimizer, 1)
    step(other, 1)
    assert_same(other.params, optimizer.params)


@pytest.mark.parametrize(
    "make",
    [lambda: optim.Adam(problem.arrays()), lambda: optim.Optimizer(problem.arrays(), fo.sgd(0.1))],
    ids=["Adam", "Optimizer"],
)
def test_the_step_count_is_restored_and_a_key_count_belongs_to_the_user(make):
    optimizer, other = make(), make()
    optimizer.param_groups[0]["count"] = "mine"
    steps(optimizer, range(3))
    other.load_state_dict(json.loads(json.dumps(optimizer.state_dict(), default=np.ndarray.tolist)))
    assert other.step_count == 3
    assert other.param_groups[0]["count"] == "mine"
    assert other.param_groups[0].keys() == optimizer.param_groups[0].keys()
