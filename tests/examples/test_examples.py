"""The programs of `examples/`, each for a few steps, with JAX as readers have it."""

import importlib.util
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jax
import numpy as np
import pytest

from ..extras import need

ROOT = Path(__file__).resolve().parents[2]
TESTED_ELSEWHERE = {"multihost", "plan_70b"}


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(monkeypatch):
    """Runs the program of a name with its arguments, and returns the result of its `main`."""
    # One example sets the flags, which shall not stay.
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))

    def run(name, *arguments, **constants):
        module = load(name)
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return module.main(list(arguments))

    return run


def test_a_transformer_is_trained_with_each_optimizer(run, tmp_path, capsys):
    need("matplotlib")
    two = {name: load("characters").optimizers()[name] for name in ("adamw", "muon")}
    picture = tmp_path / "curves.svg"
    small = {"WIDTH": 8, "HEADS": 2, "CONTEXT": 8, "BATCH": 4, "EVERY": 2, "RATES": (1e-3, 1e-2)}
    small |= {"optimizers": lambda: two}  # the others take long to compile
    run("characters", "--steps", "4", "--picture", str(picture), **small)
    printed = capsys.readouterr().out
    assert re.search(r"layers\.qkv\.kernel .*muon: 2 matrices of 8 x 24, split in 3", printed)
    assert re.search(r"embedding\.character .*adam: an embedding", printed)
    rows = re.findall(r"^\| `(\w+)` \| \S+ .*\| (\d+\.\d+) \| \d+ \|$", printed, re.MULTILINE)
    assert [name for name, _ in rows] == ["adamw", "muon"]
    assert all(float(loss) < np.log(96) + 1 for _, loss in rows)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_the_best_run_is_the_first_at_the_target_and_diverged_ones_are_not():
    example = load("characters")
    losses = np.full((len(example.RATES), 4), 9.0)
    losses[0] = [5.0, np.nan, np.nan, np.nan]
    losses[1] = [5.0, 3.0, 2.0, 1.0]
    losses[2] = [5.0, 2.0, 2.0, 1.5]
    result = example.best(losses, target=2.0)
    assert (result.rate, result.steps) == (example.RATES[2], 2 * example.EVERY)
    assert example.best(losses, target=0.5)[::2] == (example.RATES[1], None)


def test_fine_tuning_reaches_an_accuracy_above_chance(run):
    need("sklearn")
    accuracy = run("fine_tuning", "--steps", "5")
    assert set(accuracy) == {"from the beginning", "only a new head", "three groups"}
    assert all(value > 0.2 for value in accuracy.values())


def test_eight_devices_have_the_losses_of_one(run, capsys):
    need("sklearn")
    if jax.device_count() < 8:
        pytest.skip("needs eight devices")
    assert run("fsdp", "--steps", "3") < 1e-5
    assert "a device has (32, 256) of a kernel of shape (256, 256)" in capsys.readouterr().out


def test_two_players_are_trained_together(run):
    found, near = run("gan", "--steps", "3")
    assert 0 <= found <= 8
    assert 0 <= near <= 1


def test_the_policy_finds_a_shorter_way(run, capsys):
    assert run("gridworld", "--steps", "60", EPISODES=16) <= 20
    first, last = re.search(r"([\d.]+) at first, ([\d.]+) at", capsys.readouterr().out).groups()
    assert float(last) < 0.6 * float(first)


def test_the_network_comes_closer_to_the_exact_solution(run):
    assert run("heat_equation", "--steps", "40") < 0.2  # that of zero everywhere is 0.47


def test_a_run_of_torch_continues_with_equal_losses(run):
    assert run("torch_checkpoint") < 1e-3


def test_gaussians_come_closer_to_the_closed_form(run):
    assert run("variational", "--steps", "1000") < 0.3  # it begins at 3.5


def programs():
    return {path.stem for path in (ROOT / "examples").glob("*.py")} - TESTED_ELSEWHERE


def test_make_and_the_page_have_all_programs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"^EXAMPLES \?= (.*)$", makefile, re.MULTILINE)[1].split()
    assert listed == sorted(programs())
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    everything = programs() | TESTED_ELSEWHERE
    assert {name for name in everything if f"../examples/{name}.py" in page} == everything


@pytest.mark.parametrize("name", sorted(programs()))
def test_a_program_says_how_to_run_it_and_how_long_it_takes(name):
    text = load(name).__doc__
    assert f"\n    python examples/{name}.py\n" in text
    assert re.search(r"\btakes\s(a|half|ten|500)\b", text)
