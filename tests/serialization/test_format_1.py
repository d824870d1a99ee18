"""Runs continue from states of format 1, which versions up to commit 0ecc04e wrote.

The files are written by `make_format_1`, which also describes their content.
"""

import contextlib
import functools
import json
import lzma
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.interop import orbax, safetensors

from ..trees import leaf_types
from .make_format_1 import AFTER, BEFORE, decoded, optimizer, runs, step_optimizer

DATA = Path(__file__).parent / "data"
FILE = json.loads(lzma.decompress((DATA / "format_1.json.xz").read_bytes()))
RUNS = {name: run for name, run in runs().items() if name in FILE["runs"]}

TOLERANCES = {
    "8 bits": {"rtol": 1e-3, "atol": 1e-3},
    "bfloat16": {"rtol": 1e-3, "atol": 5e-3},
    "narrow moments": {"rtol": 1e-3, "atol": 1e-3},
}
"""Where moments are rounded, they are rounded at other places than those of format 1 were."""

ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def late(steps):
    """Tells whether some of the steps are those after the state was saved."""
    return any(i > BEFORE for i in steps)


def read(name):
    """Reads parameters and state where the run was saved, and the parameters at its end."""
    params, state, last = (decoded(part) for part in FILE["runs"][name])
    like = RUNS[name].arrays(seed=0)
    return fo.from_state_dict(like, params), state, fo.from_state_dict(like, last)


def assert_reaches(params, last, **tolerance):
    for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), **tolerance)


def continued(name, params, state):
    run = RUNS[name]
    with jax.disable_jit():
        return run.steps(run.make(), params, state, BEFORE + 1, BEFORE + AFTER + 1)[0]


def test_every_run_of_the_file_is_tested():
    assert FILE["runs"].keys() - RUNS.keys() == {"an Optimizer over a transformation"}


@functools.cache
def loaded(name):
    """Returns the parameters of a run, and its state in the structure of today."""
    params, saved, _ = read(name)
    return params, fo.from_state_dict(RUNS[name].make().init(params), saved)


TOGETHER = [name for name, run in RUNS.items() if not late(run.edits) and not late(run.without)]


@functools.cache
def ends():
    """Returns the parameters at the end of all runs that continue with all gradients.

    It is one program, which takes less time to compile than one for each run.
    """
    start = {}
    for name in TOGETHER:
        with contextlib.suppress(Exception):  # the test of that run raises it
            start[name] = loaded(name)
    rules = {name: RUNS[name].make() for name in start}

    def step(runs, grads):
        after = {}
        for name, (params, state) in runs.items():
            updates, state = RUNS[name].update(rules[name], grads[name], state, params)
            after[name] = fo.apply_updates(params, updates), state
        return after

    step = jax.jit(step)
    for i in range(BEFORE + 1, BEFORE + AFTER + 1):
        start = step(start, {name: RUNS[name].arrays(seed=i) for name in start})
    return {name: params for name, (params, _) in start.items()}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_continues(name):
    params, state = loaded(name)
    end = ends()[name] if name in TOGETHER else continued(name, params, state)
    assert_reaches(end, read(name)[2], **TOLERANCES.get(name, ROUNDING))


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if not run.without])
def test_the_structure_is_the_templates(name):
    params, saved, _ = read(name)
    template = RUNS[name].make().init(params)
    state, report = fo.from_state_dict(template, saved, strict=False)
    assert report.complete
    assert not report.leaf_counts
    assert leaf_types(state) == leaf_types(template)


def test_counts_that_differ_are_reported():
    params, saved, _ = read("adamw, None gradients")
    template = fo.adamw(1e-3).init(params)
    state, report = fo.from_state_dict(template, saved, strict=False)
    assert report.leaf_counts == ("scale_by_adam",)
    assert state.scale_by_adam.leaf_counts.tolist() == [2, 2]
    assert state.scale_by_adam.count == 3


def test_a_template_with_leaf_counts_keeps_them():
    params, saved, last = read("nadam-torch")
    tx = fo.per_leaf_counts(RUNS["nadam-torch"].make())
    state = fo.from_state_dict(tx.init(params), saved)
    assert leaf_types(state) == leaf_types(tx.init(params))
    assert state.scale_by_adam.leaf_counts.tolist() == [3, 3]
    assert_reaches(continued("nadam-torch", params, state), last, **ROUNDING)


def test_moments_are_plain():
    params, saved, _ = read("scale_by_adam")
    state = fo.from_state_dict(fo.scale_by_adam().init(params), saved)
    np.testing.assert_allclose(state.mu["w"], saved["mu.w"] * (1 - 0.9**3), rtol=1e-6)
    np.testing.assert_allclose(
        state.nu["w"], saved["nu.w"] * (1 - float(np.float32(0.999)) ** 3), rtol=1e-6
    )


def test_the_last_decays_count_and_not_those_that_are_set():
    params, saved, _ = read("scale_by_adam")
    saved["memory.b1.w"] = np.float32(0.5)
    saved["memory.b2.w"] = np.float32(0.0)
    state = fo.from_state_dict(fo.scale_by_adam().init(params), saved)
    np.testing.assert_allclose(state.mu["w"], saved["mu.w"] * (1 - 0.5**3), rtol=1e-6)
    np.testing.assert_array_equal(state.nu["w"], saved["nu.w"])
    assert state.hyperparams["b1"] == np.float32(0.9)


def test_a_dampening_that_acts_needs_its_place():
    params, saved, _ = read("sgd-dampening")
    assert saved["trace.hyperparams.dampening"] == 0.5
    with pytest.raises(ValueError, match=r"unexpected: 'trace.hyperparams.dampening' \(\) float32"):
        fo.from_state_dict(fo.sgd(0.1, 0.9).init(params), saved)


def test_the_memory_of_other_rules_is_carried():
    saved = {
        "_format_version": 1,
        "count": np.int32(2),
        "steps.w": np.int32(2),
        "hyperparams.rate": np.float32(0.1),
        "memory.decay.w": np.float32(0.5),
        "memory.peak.w": np.float32(7.0),
        "slot.w": np.ones(3, np.float32),
    }
    template = fo.State(
        count=jnp.int32(0),
        hyperparams={"rate": jnp.float32(0)},
        carry={"decay": jnp.float32(0), "peak": jnp.float32(0)},
        slot={"w": jnp.zeros(3)},
    )
    state = fo.from_state_dict(template, saved)
    assert state.carry == {"decay": 0.5, "peak": 7.0}
    assert state.slot["w"].tolist() == [1, 1, 1]


def test_parameters_are_renamed_and_removed():
    params, saved, _ = read("adamw, None gradients")
    saved["scale_by_adam.steps.b"] = np.int32(1)
    template = fo.adamw(0.1).init({"v": params["w"]})
    state, report = fo.from_state_dict(template, saved, strict=False, rename={"w": "v"})
    assert state.scale_by_adam.leaf_counts.tolist() == [2]
    assert [*report.unexpected] == [f"scale_by_adam.{k}.b" for k in ("mu", "nu", "leaf_counts")]


def test_layers_of_format_1_are_stacked():
    params, saved, _ = read("packed, many")
    stacked = {"a": jnp.stack(params["a"]), "b": params["b"]}
    template = fo.adamw(0.1).init(stacked)
    state = fo.from_state_dict(template, saved, stacked={"a.*": "a"})
    expected = saved["scale_by_adam.mu.a.3"] * (1 - 0.9**3)
    np.testing.assert_allclose(state.scale_by_adam.mu["a"][3], expected, rtol=1e-6)


def test_a_file_of_safetensors_continues():
    name = "adamw, None gradients"
    run, (params, _, last) = RUNS[name], read(name)
    template = jax.eval_shape(lambda: (params, run.make().init(params)))
    read_back = safetensors.load(
        DATA / "format_1.safetensors", params=template[0], state=template[1]
    )
    assert read_back.step == BEFORE
    assert read_back.report.leaf_counts == ("state.scale_by_adam",)
    assert_reaches(continued(name, read_back.params, read_back.state), last, **ROUNDING)


def test_a_directory_of_orbax_continues(tmp_path, monkeypatch):
    params, saved, last = read("chain-clip-adam-schedule")
    tree = {}
    for name, x in saved.items():
        *path, end = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[end] = x
    del tree["_format_version"]
    with monkeypatch.context() as patch:
        patch.setattr("functional_optim.serialization.writing.FORMAT_VERSION", 1)
        orbax.save(tmp_path / "c", params=params, state=tree)
    template = RUNS["chain-clip-adam-schedule"].make().init(params)
    read_back = orbax.load(tmp_path / "c", params=params, state=template)
    last_params = continued("chain-clip-adam-schedule", read_back.params, read_back.state)
    assert_reaches(last_params, last, **ROUNDING)


def test_an_optimizer_continues():
    records = FILE["runs"]["an Optimizer over a transformation"]
    params, saved, last = (decoded(part) for part in records)
    opt = optimizer()
    opt.params = fo.from_state_dict(opt.params, params)
    opt.load_state_dict({"state": saved, "param_groups": FILE["optimizer_groups"]})
    step_optimizer(opt, BEFORE + 1, BEFORE + AFTER + 1)
    assert_reaches(opt.params, fo.from_state_dict(opt.params, last), **ROUNDING)
