"""Every optimizer of the package trains the network of the demo."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import functional_optim as fo
from functional_optim.demo import data
from functional_optim.demo.config import Config
from functional_optim.demo.optimizers import names
from functional_optim.demo.rules import PEAKS, RACED, REFERENCE, learning_rate_of
from functional_optim.demo.train import epoch_function, start

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digits():
    return data.load(0)


@pytest.fixture(scope="module")
def batches(digits):
    """Provides the batches of an epoch, of which the first is at the largest learning rate."""
    return data.draw(jax.random.key(0), digits, Config.batch_size)[1]


def test_each_optimizer_has_a_learning_rate():
    assert sorted(PEAKS) == list(names())
    assert {name for name, peak in PEAKS.items() if not peak} == {"lbfgs"}
    assert {*RACED, REFERENCE} <= {*PEAKS}


@pytest.mark.parametrize("rule", names())
def test_each_optimizer_traces_an_epoch(rule, digits, batches):
    """Each rule gets the arguments that it needs, and its state keeps its shapes."""
    config = Config(rule=rule)
    tx = config.optimizer()
    state = jax.eval_shape(lambda: start(config, tx))
    after, measured = jax.eval_shape(epoch_function(tx), state, batches, digits)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert {measured[k].shape for k in ("loss", "learning_rate", "gradient_norm")} == {(22,)}


@pytest.mark.parametrize("rule", sorted({*names()} - {"lbfgs", "rprop"}))
def test_learning_rate_of_each_optimizer_follows_the_schedule(rule):
    opt_state = Config(rule=rule).optimizer().init({"kernel": np.ones((4, 4), np.float32)})
    numbers = fo.get_hyperparams(opt_state, with_paths=True)
    peaks = [value for name, value in numbers.items() if name.endswith(".peak_value")]
    assert [float(peak) for peak in peaks] == [pytest.approx(PEAKS[rule])] * len(peaks)
    assert len(peaks) == (2 if rule == "schedule_free" else 1)
    # The first step of a warmup from 0 has the learning rate 0.
    assert float(learning_rate_of(opt_state)) == 0


@pytest.mark.parametrize("rule", ["lbfgs", "momo", "polyak_sgd", "schedule_free_adamw", "sophia"])
def test_optimizers_that_need_more_than_gradients_learn(rule, digits, batches):
    config = Config(rule=rule, epochs=1)
    tx = config.optimizer()
    _, measured = jax.jit(epoch_function(tx))(start(config, tx), batches, digits)
    losses = np.asarray(measured["loss"])
    assert np.isfinite(losses).all()
    assert losses[-5:].mean() < 0.8 * losses[:3].mean()
    assert measured["test_accuracy"] > 0.3


def test_a_line_search_has_no_learning_rate(digits, batches):
    config = Config(rule="lbfgs")
    assert np.isnan(learning_rate_of(start(config, config.optimizer()).opt_state))


def test_reference_is_one_of_the_best_of_the_race():
    """If this fails after a race, set REFERENCE in functional_optim/demo/rules.py to the best."""
    page = (ROOT / "docs" / "race.md").read_text(encoding="utf-8")
    table = page.partition("\n`mlp`: ")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d.]+) ", table, re.MULTILINE)
    ranked = sorted(rows, key=lambda row: float(row[1]))
    assert REFERENCE in [name for name, _ in ranked[:5]]
