"""A saved state whose entries were edited loads as it is, and trains as in torch."""

import copy
import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim import optim
from functional_optim.optim.classes import recent

from . import torch_steps

SHAPE = (4, 3)
BFLOAT16 = 0.05
"""Tolerance for a step of Muon, which multiplies matrices in bfloat16; as in `golden.compare`."""


class Case(NamedTuple):
    """A class, the formulas of its step, and the entries of its state."""

    cls: Any
    step: torch_steps.Step
    entries: str
    options: dict[str, Any]
    vector: bool = False


CASES = {
    "SGD": Case(optim.SGD, torch_steps.sgd, "momentum_buffer", {"momentum": 0.9}),
    "SGD-dampening": Case(
        optim.SGD, torch_steps.sgd, "momentum_buffer", {"momentum": 0.9, "dampening": 0.5}
    ),
    "SGD-nesterov": Case(
        optim.SGD, torch_steps.sgd, "momentum_buffer", {"momentum": 0.9, "nesterov": True}
    ),
    "Adam": Case(optim.Adam, torch_steps.adam, "step exp_avg exp_avg_sq", {"weight_decay": 0.1}),
    "AdamW": Case(
        optim.AdamW,
        torch_steps.adam,
        "step exp_avg exp_avg_sq max_exp_avg_sq",
        {"amsgrad": True},
    ),
    "NAdam": Case(
        optim.NAdam,
        torch_steps.nadam,
        "step mu_product exp_avg exp_avg_sq",
        {"momentum_decay": 0.1},
    ),
    "RAdam": Case(optim.RAdam, torch_steps.radam, "step exp_avg exp_avg_sq", {"betas": (0.9, 0.9)}),
    "Adamax": Case(optim.Adamax, torch_steps.adamax, "step exp_avg exp_inf", {}),
    "Adagrad": Case(optim.Adagrad, torch_steps.adagrad, "step sum", {"lr_decay": 0.1}),
    "Adadelta": Case(optim.Adadelta, torch_steps.adadelta, "step square_avg acc_delta", {}),
    "RMSprop": Case(
        optim.RMSprop,
        torch_steps.rmsprop,
        "step square_avg grad_avg momentum_buffer",
        {"momentum": 0.9, "centered": True},
    ),
    "Rprop": Case(optim.Rprop, torch_steps.rprop, "step prev step_size", {}),
    "ASGD": Case(optim.ASGD, torch_steps.asgd, "step eta mu ax", {"lambd": 0.1, "t0": 3}),
    "Adafactor": Case(
        optim.Adafactor,
        torch_steps.adafactor,
        "step row_var col_var",
        {"eps": (1e-8, 1e-3), "weight_decay": 0.1},
    ),
    "Adafactor-vector": Case(
        optim.Adafactor, torch_steps.adafactor, "step variance", {"eps": (1e-8, 1e-3)}, True
    ),
    "Lion": Case(optim.Lion, torch_steps.lion, "exp_avg", {"weight_decay": 0.1}),
    "Muon": Case(optim.Muon, torch_steps.muon, "momentum_buffer", {}),
    "SparseAdam": Case(optim.SparseAdam, torch_steps.sparse_adam, "step exp_avg exp_avg_sq", {}),
}

EDITS = {
    "zero": lambda x, rng: np.zeros_like(x),
    "scaled": lambda x, rng: 2 * x,
    "replaced": lambda x, rng: np.asarray(rng.uniform(0.1, 0.9, np.shape(x)), np.asarray(x).dtype),
}

pytestmark = pytest.mark.usefixtures("x64")


def gradient(name, t):
    """Returns the gradient of a step; rows of zeros are missing in a sparse one."""
    case = CASES[name]
    rng = np.random.default_rng(t)
    g = rng.normal(size=SHAPE[:1] if case.vector else SHAPE)
    if case.cls is optim.SparseAdam:
        g[t % SHAPE[0]] = 0.0
    return g


def make_step(optimizer, name, t):
    """Makes a step, without a gradient for the parameter `never`."""
    g = gradient(name, t)
    rows = np.flatnonzero(g.any(axis=-1)) if CASES[name].cls is optim.SparseAdam else None
    if rows is None:
        w = jnp.asarray(g)
    else:
        w = fo.row_sparse(jnp.asarray(g[rows]), jnp.asarray(rows), g.shape)
    optimizer.step({"never": None, "w": w})


def make(name, params):
    case = CASES[name]
    return case.cls(params, **({"lr": 0.1} | case.options))


@functools.cache
def trained(name):
    """Returns parameter and state_dict after a few steps."""
    w = np.random.default_rng(7).normal(size=gradient(name, 0).shape)
    optimizer = make(name, {"never": jnp.ones((2, 2)), "w": jnp.asarray(w)})
    for t in range(5):
        make_step(optimizer, name, t)
    return np.asarray(optimizer.copy_params()["w"]), optimizer.state_dict()


def edited(name, entry, edit):
    """Returns parameter and state_dict with one entry edited."""
    w, saved = copy.deepcopy(trained(name))
    old = saved["state"][1][entry]
    new = EDITS[edit](old, np.random.default_rng(11))
    if entry == "step":
        new = np.asarray({"zero": 0, "scaled": 2 * old, "replaced": 12}[edit], np.float32)
    saved["state"][1][entry] = new
    return w, saved


ROWS = [
    (name, entry, edit)
    for name, case in CASES.items()
    for entry in case.entries.split()
    for edit in EDITS
]


@pytest.mark.parametrize(("name", "entry", "edit"), ROWS)
def test_an_edited_state_loads_as_it_is_and_trains_as_in_torch(name, entry, edit):
    case, (w, saved) = CASES[name], edited(name, entry, edit)
    optimizer = make(name, {"never": jnp.ones((2, 2)), "w": jnp.asarray(w)})
    optimizer.load_state_dict(saved)
    state = saved["state"][1]
    assert_same_entries(optimizer.state_dict()["state"], {1: state}, rtol=0)
    state = {k: np.asarray(x, np.float64) for k, x in state.items()}  # torch's step is float32
    for t in range(5, 8):
        make_step(optimizer, name, t)
        w, state = case.step(w, gradient(name, t), state, optimizer.param_groups[0])
    assert_same_entries(optimizer.state_dict()["state"], {1: state}, rtol=1e-9)
    steps = optimizer.param_groups[0]["lr"] * 3 * np.sqrt(SHAPE[0] / SHAPE[1])
    atol = BFLOAT16 * steps if case.cls is optim.Muon else 1e-12
    np.testing.assert_allclose(optimizer.params["w"], w, rtol=1e-9, atol=atol)


def assert_same_entries(states, expected, rtol):
    """Compares entries: Adagrad has them from the start, others from the first gradient."""
    states = {k: v for k, v in states.items() if k in expected or set(v) != {"step", "sum"}}
    assert states.keys() == expected.keys()
    for k, entries in expected.items():
        assert states[k].keys() == entries.keys()
        for name, value in entries.items():
            np.testing.assert_allclose(states[k][name], value, rtol=rtol, atol=rtol / 100)


@pytest.mark.parametrize("name", CASES)
def test_the_table_has_every_entry(name):
    assert set(trained(name)[1]["state"][1]) == set(CASES[name].entries.split())


def test_the_table_has_every_class():
    public = [x for x in vars(optim).values() if isinstance(x, type)]
    classes = {cls for cls in public if getattr(cls, "entries", None)}
    classes = {cls for cls in classes if cls.__module__ != recent.__name__}  # test_recent_classes
    assert {case.cls for case in CASES.values()} == classes


def test_entries_of_older_versions_are_ignored():
    w, saved = copy.deepcopy(trained("Adam"))
    saved["state"][1]["exp_avg_ulp"] = (5, np.ones(SHAPE, np.int8))
    optimizer = make("Adam", {"never": jnp.ones((2, 2)), "w": jnp.asarray(w)})
    optimizer.load_state_dict(saved)
    assert_same_entries(optimizer.state_dict()["state"], trained("Adam")[1]["state"], rtol=0)


def rosenbrock(params):
    x, y = params["w"]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@functools.cache
def searched():
    optimizer = optim.LBFGS({"w": jnp.array([-1.2, 1.0])}, max_iter=3)
    for _ in range(2):
        optimizer.step(rosenbrock)
    return np.asarray(optimizer.copy_params()["w"]), optimizer.state_dict()


LISTS = ("old_dirs", "old_stps", "ro", "al")


@pytest.mark.parametrize("edit", ["zero", "scaled", "replaced"])
@pytest.mark.parametrize("entry", ["d", "t", "prev_flat_grad", "H_diag", "prev_loss", *LISTS])
def test_an_edited_state_of_lbfgs_loads_as_it_is_and_stays_finite(entry, edit):
    w, saved = copy.deepcopy(searched())
    rng, state = np.random.default_rng(3), saved["state"][0]
    old = state[entry]
    change = functools.partial(EDITS[edit], rng=rng)
    if entry in LISTS:
        state[entry] = [None if x is None else change(x) for x in old]
    else:
        state[entry] = change(np.asarray(old))
    optimizer = optim.LBFGS({"w": jnp.asarray(w)}, max_iter=3)
    optimizer.load_state_dict(saved)
    reloaded = optimizer.state_dict()["state"][0]
    for x, y in zip(*(entries_of(s, entry) for s in (reloaded, state)), strict=True):
        np.testing.assert_array_equal(x, y)
    optimizer.step(rosenbrock)
    assert np.isfinite(optimizer.params["w"]).all()


def entries_of(state, name):
    value = state[name] if name in LISTS else [state[name]]
    return [x for x in value if x is not None]


def test_lbfgs_without_iterations_starts_again():
    w, saved = copy.deepcopy(searched())
    saved["state"][0]["n_iter"] = 0
    optimizer, fresh = (optim.LBFGS({"w": jnp.asarray(w)}, max_iter=3) for _ in range(2))
    optimizer.load_state_dict(saved)
    for each_one in (optimizer, fresh):
        each_one.step(rosenbrock)
    np.testing.assert_array_equal(optimizer.params["w"], fresh.params["w"])
