"""An edited number is written straight into the state, with the same result."""

import copy

import jax
import pytest

from functional_optim import optim

from .. import problem
from ..trees import assert_same
from .makers import grads, steps

EDITS = {
    "SGD": {"lr": 0.25, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.2},
    "Adam": {"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.1, "weight_decay": 0.2},
    "AdamW": {"lr": 0.25, "betas": (0.5, 0.75), "eps": 0.1, "weight_decay": 0.2},
    "RMSprop": {"lr": 0.25, "alpha": 0.5, "eps": 0.1, "weight_decay": 0.2, "momentum": 0.5},
    "Lion": {"lr": 0.25, "betas": (0.5, 0.75), "weight_decay": 0.2},
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, edits in EDITS.items() for option in edits]
)
def test_writing_an_edit_into_the_state_equals_remaking_the_transformation(
    name, option, monkeypatch
):
    """Edits twice: at first the transformation may have to be made again, and then not."""
    value = EDITS[name][option]
    first = value[::-1] if isinstance(value, tuple) else value / 2
    more = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(optim, name)(problem.arrays(), **more)
    steps(optimizer, [0])
    optimizer.param_groups[0][option] = first
    steps(optimizer, [1])
    expected = copy.deepcopy(optimizer)
    expected._groups[0].positions = {}
    for each_one in (optimizer, expected):
        each_one.param_groups[0][option] = value
    monkeypatch.setattr(type(optimizer), "transformation", None)
    steps(optimizer, [2])
    monkeypatch.undo()
    assert_same(optimizer.params, steps(expected, [2]))
    assert_same(optimizer.state, expected.state)


def test_an_edit_works_under_a_transfer_guard():
    optimizer = optim.SGD(problem.arrays())
    gradients = grads(0)
    optimizer.step(gradients)
    optimizer.param_groups[0]["lr"] = 0.25
    with jax.transfer_guard("disallow"):
        optimizer.step(gradients)
