"""SparseAdam on fresh rows, and its state on the way to torch and back."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from functional_optim import optim
from functional_optim.interop.torch import to_torch

from ..golden.compare import distance
from ..sparse import TABLE, draw
from .conftest import SEED

OPTIONS = {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-6}


def ours(start):
    return optim.SparseAdam({"table": jnp.asarray(start)}, **OPTIONS)


def theirs(start):
    p = torch.nn.Parameter(torch.tensor(np.asarray(start)))
    return p, torch.optim.SparseAdam([p], **OPTIONS)


def step_ours(optimizer, steps):
    for t in steps:
        optimizer.step({"table": draw(SEED + t, 5, np.float64).sparse})


def step_theirs(p, optimizer, steps):
    for t in steps:
        g = draw(SEED + t, 5, np.float64)
        indices, values = torch.tensor(g.indices[None]), torch.tensor(g.values)
        p.grad = torch.sparse_coo_tensor(indices, values, TABLE, check_invariants=True)
        optimizer.step()


@pytest.mark.usefixtures("x64")
def test_roundtrip():
    start = np.random.default_rng(SEED).standard_normal(TABLE)
    alone, (p, reference) = ours(start), theirs(start)
    step_ours(alone, range(30))
    step_theirs(p, reference, range(30))
    assert distance(np.asarray(alone.params["table"]), p.detach().numpy()) < 1e-12

    crossing = ours(start)
    step_ours(crossing, range(10))
    p, between = theirs(crossing.params["table"])
    between.load_state_dict(to_torch(crossing.state_dict()))
    step_theirs(p, between, range(10, 20))
    again = ours(p.detach().numpy())
    again.load_state_dict(between.state_dict())
    step_ours(again, range(20, 30))
    assert distance(np.asarray(again.params["table"]), np.asarray(alone.params["table"])) < 1e-12
