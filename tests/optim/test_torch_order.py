"""States leave for torch in the order in which torch has the parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from functional_optim import optim
from functional_optim.interop.param_order import in_torch_order


def saved(params, **options):
    """Returns the state after one step, whose momentum of each parameter is that parameter."""
    opt = optim.SGD(params, **{"lr": 0.1, "momentum": 0.9} | options)
    opt.step(opt.params)
    return opt.state_dict()


def numbers(state_dict):
    return [
        (k, float(state_dict["state"][k]["momentum_buffer"][0]))
        for group in state_dict["param_groups"]
        for k in group["params"]
    ]


PARAMS = {"q": jnp.full(2, 1.0), "k": jnp.full(2, 2.0), "a": jnp.full(3, 3.0)}


def test_names_order_parameters_as_in_torch():
    there = in_torch_order("to_torch", saved(PARAMS), ["q", "k", "a"])
    assert numbers(there) == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert there["param_groups"][0]["param_names"] == ["q", "k", "a"]


def test_each_group_is_in_the_order_of_the_names():
    groups = [{"params": {"b": jnp.full(1, 1.0), "a": jnp.full(1, 2.0)}, "lr": 0.5}]
    groups += [{"params": {"d": jnp.full(1, 3.0), "c": jnp.full(1, 4.0)}}]
    there = in_torch_order("to_torch", saved(groups), ["d", "b", "c", "a"])
    assert numbers(there) == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert [group["lr"] for group in there["param_groups"]] == [0.5, 0.1]


def test_a_reordered_state_loads_unchanged():
    state = saved(PARAMS)
    there = in_torch_order("to_torch", state, ["q", "k", "a"])
    for group in there["param_groups"]:
        del group["param_names"]  # which torch does not keep
    again = optim.SGD(PARAMS, lr=0.5, momentum=0.9)
    again.load_state_dict(there, names=["q", "k", "a"])
    for k, entry in again.state_dict()["state"].items():
        np.testing.assert_array_equal(
            entry["momentum_buffer"], state["state"][k]["momentum_buffer"]
        )


@pytest.mark.parametrize(
    "params", [[jnp.ones(1)] * 1, [jnp.full(1, float(i)) for i in range(12)], {"w": jnp.ones(1)}]
)
def test_a_flat_list_needs_no_names(params):
    state = saved(params)
    assert in_torch_order("to_torch", state, None) == state


def test_groups_of_flat_lists_of_unequal_length_need_no_names():
    a, b, c = (jnp.full(n, float(n)) for n in (2, 3, 4))
    state = saved([{"params": [a, b]}, {"params": [c]}])
    assert in_torch_order("to_torch", state, None) == state


@pytest.mark.parametrize(
    ("params", "names", "text"),
    [
        (PARAMS, None, "torch loads by position.*Pass names="),
        ([[jnp.zeros(1)], [jnp.ones(1)]], None, "torch loads by position"),
        (PARAMS, ["q", "k"], "only on one side are a"),
        (PARAMS, ["q", "k", "a", "a"], "each once"),
        (PARAMS, ["q", "k", "a", "z"], "only on one side are z"),
    ],
)
def test_an_unknown_order_raises(params, names, text):
    with pytest.raises(ValueError, match=f"to_torch: .*{text}"):
        in_torch_order("to_torch", saved(params), names)


def test_the_vectors_of_lbfgs_stay_in_their_order():
    opt = optim.LBFGS({"b": jnp.ones(1), "a": jnp.ones(2)}, lr=0.1, max_iter=3)
    opt.step(lambda p: jnp.sum(p["a"] ** 4) + jnp.sum(p["b"] ** 2))
    state = opt.state_dict()
    assert in_torch_order("to_torch", state, ["a", "b"]) == state
    with pytest.raises(ValueError, match="all parameters in one vector"):
        in_torch_order("to_torch", state, ["b", "a"])
