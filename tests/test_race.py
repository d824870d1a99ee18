"""The race runs, continues where it stopped, and has every optimizer of the package."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from .compiling import UNOPTIMIZED
from .extras import missing

if missing("sklearn") or missing("matplotlib"):
    pytest.skip("needs scikit-learn and matplotlib", allow_module_level=True)

import functional_optim as fo
from benchmarks.race import __main__ as race
from benchmarks.race import entrants, sweep
from benchmarks.race.results import Results, Setup
from benchmarks.race.tasks import TASKS
from functional_optim.demo import optimizers

from .rules.training import TRAINING

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Provides the arguments of a race of seconds, into a temporary folder."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(UNOPTIMIZED.upper(), "1")  # for the process that it starts
    place = ["--out", str(tmp_path / "out"), "--page", str(tmp_path / "race.md")]
    return [*place, "--tasks", "table", "--steps", "0.2", "--seeds", "2"]


def test_a_race_of_two_rules_resumes_and_writes_tables_and_pictures(options, tmp_path):
    folder = tmp_path / "out" / "table"
    # This is the process that a race starts, which stopped after one rule.
    race.main([*options, "--only", "adamw", "--child"])
    before = (folder / "adamw.json").read_bytes()
    race.main([*options, "--only", "adamw,sign_sgd"])
    assert (folder / "adamw.json").read_bytes() == before
    page = (tmp_path / "race.md").read_text(encoding="utf-8")
    assert "| `adamw` |" in page
    assert "| `sign_sgd` |" in page
    assert {path.name for path in (tmp_path / "race").iterdir()} == {
        "table_curves.svg",
        "table_rates.svg",
    }
    found = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in folder.iterdir()}
    assert found.keys() == {"adamw", "sign_sgd"}
    for result in found.values():
        assert len(result["final_of_settings"]) == 32
        assert len(result["curve"]) == 4
        assert result["final"] < 0.3 < max(x or 9 for x in result["final_of_settings"])
        assert result["final"] == min(x for x in result["final_of_settings"] if x is not None)
    # AdamW has two moments of 31 numbers more than a rule without slots.
    assert found["adamw"]["state_bytes"] >= found["sign_sgd"]["state_bytes"] + 2 * 4 * 31


def test_an_error_is_a_result_and_the_next_rule_runs(tmp_path, monkeypatch):
    def broken(name):
        raise ValueError(f"{name} is broken.")

    monkeypatch.setattr(race, "entrant", broken)
    results = Results(tmp_path, Setup(0.1, 1, 10))
    race.run("table", "adamw", results)
    assert results.read("table", "adamw")["error"] == "ValueError: adamw is broken."
    assert race.pending([("table", "adamw"), ("table", "sgd")], results) == [("table", "sgd")]


def test_each_setting_of_a_sweep_is_a_run_with_these_numbers():
    """Compares with momentum SGD for logistic regression, written out."""
    task = TASKS["table"]
    found = sweep.sweep(task, entrants.entrant("sgd"), 20, 1, 10)
    x, y, held_x, held_y = (part.astype(np.float64) for part in task.data())
    batches = np.random.default_rng(0).integers(len(x), size=(20, task.batch))

    def run(rate, momentum):
        params = task.init(jax.random.key(0))
        w, b = np.asarray(params["weights"], np.float64), 0.0
        trace_w, trace_b = 0.0, 0.0
        for i in batches:
            error = (1 / (1 + np.exp(-x[i] @ w - b)) - y[i]) / len(i)
            trace_w, trace_b = momentum * trace_w + error @ x[i], momentum * trace_b + error.sum()
            w, b = w - rate * trace_w, b - rate * trace_b
        return np.logaddexp(0, -(2 * held_y - 1) * (held_x @ w + b)).mean()

    for n in (0, 13, 18):
        numbers = [found["settings"][k][n] for k in ("learning_rate", "momentum")]
        np.testing.assert_allclose(found["final_of_settings"][n], run(*numbers), rtol=2e-3)


def test_the_summary_of_losses():
    nan = np.nan
    held = np.array(
        [  # settings, seeds, measurements
            [[0.5, 0.2, 0.3], [0.5, 0.4, 0.1], [0.5, 0.4, 0.4]],
            [[0.1, 0.1, 0.5], [0.2, 0.2, 0.5], [0.9, 0.9, 0.8]],
            [[0.1, 0.1, nan], [0.9, 0.9, 0.9], [0.9, 0.9, 0.9]],
        ]
    )
    found = sweep._outcome(TASKS["mlp"]._replace(target=0.25), held, held, 10)
    assert found["steps_of_settings"] == [30, 10, None]
    assert found["final_of_settings"] == [0.2667, 0.6, None]
    assert found["best"] == 0
    assert found["fastest"] == 1
    assert found["steps_to_target"] == 10
    assert found["reached"] == 2
    assert found["diverged"] == 1
    assert found["final_of_seeds"] == [0.3, 0.1, 0.4]
    assert found["curve"] == [0.5, 0.3333, 0.2667]


def test_a_result_of_another_setup_is_not_one_of_this_race(tmp_path):
    Results(tmp_path, Setup(0.1, 1, 10)).write("table", "sgd", {"final": 1.0})
    assert Results(tmp_path, Setup(0.1, 3, 10)).read("table", "sgd") is None


@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_has_a_sweep(name):
    found = entrants.entrant(name)
    assert len({*zip(*found.settings.values(), strict=True)}) >= 32


def test_the_optimizers_are_those_that_are_trained_elsewhere():
    assert {*TRAINING} <= {*optimizers.names()}
    assert not {*optimizers.names()} & {*optimizers.EXCLUDED}
    assert {*optimizers.ARGUMENTS, *entrants.GRIDS, *entrants.KNOWN} <= {*optimizers.names()}
    assert {*optimizers.EXCLUDED} <= {*fo.__all__}


def needy(size: float) -> fo.GradientTransformation:
    """Makes an optimizer whose argument has no default."""
    return fo.sgd(size)


def test_a_new_optimizer_is_found_or_the_line_to_add_is_named(monkeypatch):
    monkeypatch.setattr(needy, "__module__", "functional_optim.algorithms.needy")
    monkeypatch.setattr(fo, "needy", needy, raising=False)
    monkeypatch.setattr(fo, "__all__", [*fo.__all__, "needy"])
    assert "needy" in optimizers.names.__wrapped__()
    with pytest.raises(ValueError, match=r'optimizers.py: "needy": {"size": ...}'):
        entrants.entrant("needy")


def test_tasks_have_finite_losses_and_data_of_one_length():
    for task in TASKS.values():
        train_x, train_y, held_x, held_y = task.data()
        assert len(train_x) == len(train_y)
        assert len(held_x) == len(held_y)
